package import BackupNames
internal import Catalog
internal import Logging

/// The start of a restore or drill, by the wall clock for people and by a steady one for its length.
struct RunClock {
    let startedAt: Int64
    private let start = ContinuousClock.now

    init(_ engine: Engine) { startedAt = engine.clock.secondsSince1970 }

    var milliseconds: Int64 { (ContinuousClock.now - start).wholeMilliseconds }
}

extension Duration {
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1000 + attoseconds / 1_000_000_000_000_000
    }
}

/// The code of a restore that went on past damage.
private let incomplete = "incomplete"

extension Engine {
    /// Runs a restore of a registered backup and writes down how long it took and how it went: what it throws is thrown on.
    ///
    /// A restore that its target refused has restored nothing, and one that found much on its target already tells nothing of
    /// a backend's speed: neither is written down. That a run cannot be written down is no failure of the restore: it is logged.
    package func recordingRestore(
        of identifier: BackupIdentifier, _ body: () throws -> RestoreResult
    ) throws -> RestoreResult {
        let summary = try registered(identifier)
        let run = RunClock(self)
        func note(_ result: RestoreResult?, _ outcome: String, _ detail: String) {
            let timings = result?.timings
            let record = RunRecord(
                kind: .restore, identifier: identifier, startedAt: run.startedAt, outcome: outcome, detail: detail,
                rawByteCount: summary.rawByteCount, fetchedByteCount: result?.fetchedByteCount ?? 0,
                totalMilliseconds: run.milliseconds, fetchMilliseconds: timings?.fetch.wholeMilliseconds ?? 0,
                decodeMilliseconds: timings?.decode.wholeMilliseconds ?? 0,
                writeMilliseconds: timings?.write.wholeMilliseconds ?? 0)
            do throws(EngineError) { try add(record) } catch {
                log.warning("the restore is not written down: \(error)")
            }
        }
        do {
            let result = try body()
            if result.resumedByteCount == 0 {
                note(
                    result, result.isComplete ? RunRecord.good : incomplete,
                    result.isComplete ? "" : "\(result.lostByteCount) raw bytes are lost")
            }
            return result
        } catch {
            let failure = EngineError(error, subject: "\(identifier)")
            if failure.code != .targetInUse, failure.code != .targetTooSmall {
                note(nil, failure.code.rawValue, failure.detail)
            }
            throw error
        }
    }

    func add(_ record: RunRecord) throws(EngineError) {
        do throws(CatalogError) {
            try catalog.addRun(record)
        } catch {
            throw EngineError(error, subject: "\(record.identifier)")
        }
    }

    func registered(_ identifier: BackupIdentifier) throws(EngineError) -> BackupSummary {
        do throws(CatalogError) {
            if let summary = try catalog.backup(identifier) { return summary }
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
        throw EngineError(.notFound, "there is no backup \(identifier)")
    }
}
