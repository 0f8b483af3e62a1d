package import BackupNames
package import Catalog

/// How fast a backend has been: medians of what really went there and back, and its last test.
package struct BackendFigures: Sendable, Hashable {
    /// Bytes of archives in a second of the agent's last backups, from their beginning to their end: the source may have been what was slow.
    package let backupBytesPerSecond: Int64?
    /// The same of archives fetched by the last restores and drills.
    package let restoreBytesPerSecond: Int64?
    /// The newest test.
    package let lastTest: BackendTestRecord?
    /// The newest that went well.
    package let lastGoodTest: BackendTestRecord?

    /// What the last good test has shown, else what backups have.
    package var upBytesPerSecond: Int64? { lastGoodTest?.upBytesPerSecond ?? backupBytesPerSecond }
    /// What the last good test has shown, else what restores and drills have.
    package var downBytesPerSecond: Int64? { lastGoodTest?.downBytesPerSecond ?? restoreBytesPerSecond }
}

extension Engine {
    /// From the catalog alone.
    package func figures(of backend: ResourceName) throws(EngineError) -> BackendFigures {
        do {
            let limit = RecoveryFigures.sampleLimit
            let runs = try catalog.goodBackupRuns(at: backend, limit: limit).compactMap { run in
                run.endedAt.map {
                    RecoveryFigures.Sample(
                        rawByteCount: run.storedByteCount, milliseconds: max(0, $0 - run.startedAt) * 1000)
                }
            }
            // What took less than a second is not timed well enough to be told.
            let backups = runs.filter { $0.milliseconds >= 1000 }
            let restores = try catalog.goodRuns(at: backend, limit: limit).map {
                RecoveryFigures.Sample(rawByteCount: $0.fetchedByteCount, milliseconds: $0.totalMilliseconds)
            }
            let tests = try catalog.backendTests(of: backend)
            return BackendFigures(
                backupBytesPerSecond: RecoveryFigures.bytesPerSecond(backups).map { Int64($0) },
                restoreBytesPerSecond: RecoveryFigures.bytesPerSecond(restores).map { Int64($0) },
                lastTest: tests.first, lastGoodTest: tests.first { $0.isGood })
        } catch {
            throw EngineError(error, subject: "backend \"\(backend)\"")
        }
    }
}
