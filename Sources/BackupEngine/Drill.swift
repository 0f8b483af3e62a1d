internal import Archive
package import BackupNames
package import Catalog
internal import Foundation
internal import Workers

/// What a drill looked at beyond the hash of the image.
package struct DrillCheck: Sendable, Hashable, Codable {
    package enum Outcome: String, Sendable, Hashable, Codable {
        case good
        case bad
        /// Nothing is wrong with the backup: what the disk holds was in use when it was made, as after a power cut.
        case needsRecovery = "needs recovery"
        /// Neither good nor bad: nobody looked.
        case notChecked = "not checked"
    }

    /// `e2fsck`, `boot`, …
    package let check: String
    /// The file in the mount that was looked at.
    package let file: String
    package let outcome: Outcome
    package let milliseconds: Int64
    package let detail: String

    package init(check: String, file: String, outcome: Outcome, milliseconds: Int64, detail: String) {
        self.check = check
        self.file = file
        self.outcome = outcome
        self.milliseconds = milliseconds
        self.detail = detail
    }
}

/// How a drill went; it is in the catalog.
package struct DrillReport: Sendable {
    package let record: RunRecord
    package let checks: [DrillCheck]
    /// Why the restore failed; nil where it went well, whatever the checks found.
    package let failure: EngineError?

    /// The code of a drill whose restore went well, and one of whose checks found something.
    package static let checkFailed = "checkFailed"
}

extension Engine {
    /// Restores a backup to nowhere, or to a scratch image that is gone afterwards, from its backend and not from a cache, with the
    /// hash of the image checked; then runs `checks`. What came of it, and how long each phase took, goes into the catalog.
    ///
    /// Throws where nothing was tried or somebody wanted an end (`.cancelled`): there is no such backup, the target cannot be
    /// used, the catalog cannot be written to. A restore that fails is a result.
    package func drill(
        _ identifier: BackupIdentifier, to target: DrillTarget,
        checks: (BackupIdentifier) throws(EngineError) -> [DrillCheck] = { _ in [] },
        progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> DrillReport {
        let summary = try registered(identifier)
        let run = RunClock(self)
        let backup: OpenBackup
        let image: ScratchImage?
        do throws(EngineError) {
            backup = try open(identifier)
        } catch {
            // A host that holds no key that reads has tried nothing.
            guard error.code.condemnsBackup else { throw error }
            return try finish(identifier, summary, run, opened: 0, nil, error) { [] }
        }
        switch target {
        case .null: image = nil
        case .scratch(let folder, let capByteCount):
            image = try ScratchImage(in: folder, capByteCount: capByteCount, for: backup)
        }
        var opened: Int64 = 0
        let outcome: ArchiveScan.Outcome
        do {
            // What a restore does; its replicas stand in where it has some.
            if !backup.hasReplicas { try checkStoredHeader(of: backup) }
            opened = run.milliseconds
            outcome = try scan(backup, to: image, progress)
            try checkHash(outcome, of: backup)
            try image?.finish()
        } catch {
            return try finish(
                identifier, summary, run, opened: opened, nil, EngineError(error, subject: "\(identifier)")
            ) { [] }
        }
        return try finish(identifier, summary, run, opened: opened, outcome, nil) { () throws(EngineError) in
            try checks(identifier)
        }
    }

    private func scan(
        _ backup: OpenBackup, to image: ScratchImage?, _ progress: ProgressReport
    ) throws -> ArchiveScan.Outcome {
        var options = ArchiveScan.Options(fetchers: fetchers(of: backup.identifier.backend))
        // Writes block, and must hold up no worker: as a restore does it.
        let writers = image == nil ? nil : WorkerPool(threadCount: 2)
        defer { writers?.close() }
        if let image, let writers {
            options.deliver = { offset, pieces, done in
                writers.submit(.ordinary) { done(image.write(pieces, at: offset)) }
            }
        }
        let total = backup.rawByteCount
        return try pass(over: backup, from: backup.replicatedSource, options) { try progress($0, total) }
    }

    /// Writes down how it went. `checks` are made here, for they are no part of the restore's time.
    private func finish(
        _ identifier: BackupIdentifier, _ summary: BackupSummary, _ run: RunClock, opened: Int64,
        _ outcome: ArchiveScan.Outcome?, _ failure: EngineError?, _ checks: () throws(EngineError) -> [DrillCheck]
    ) throws(EngineError) -> DrillReport {
        let milliseconds = run.milliseconds
        try noteCheck(identifier, outcome, failure)
        // Who wants an end wants no result.
        if let failure, failure.code == .cancelled { throw failure }
        let findings = try checks()
        let bad = findings.first { $0.outcome == .bad }
        let timings = outcome?.timings
        let record = RunRecord(
            kind: .drill, identifier: identifier, startedAt: run.startedAt,
            outcome: failure?.code.rawValue ?? (bad == nil ? RunRecord.good : DrillReport.checkFailed),
            detail: failure?.detail ?? bad.map { "\($0.check) of \($0.file): \($0.detail)" } ?? "",
            rawByteCount: summary.rawByteCount, fetchedByteCount: timings?.fetchedByteCount ?? 0,
            totalMilliseconds: milliseconds, openMilliseconds: opened,
            fetchMilliseconds: timings?.fetch.wholeMilliseconds ?? 0,
            decodeMilliseconds: timings?.decode.wholeMilliseconds ?? 0,
            writeMilliseconds: timings?.write.wholeMilliseconds ?? 0, checksJSON: Self.json(findings))
        try add(record)
        return DrillReport(record: record, checks: findings, failure: failure)
    }

    /// A drill has looked at every byte, so it is a check of the backup as well.
    private func noteCheck(
        _ identifier: BackupIdentifier, _ outcome: ArchiveScan.Outcome?, _ failure: EngineError?
    ) throws(EngineError) {
        if let outcome, !outcome.damage.isEmpty { return noteDamage(outcome.damage, of: identifier) }
        guard failure?.code.condemnsBackup ?? true else { return }
        do throws(CatalogError) {
            try catalog.noteCheck(
                identifier, .raw, at: clock.secondsSince1970, outcome: failure?.code.rawValue ?? CheckRecord.good,
                detail: failure?.detail ?? "")
            if failure == nil { try catalog.setDamage(identifier, []) }
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// `{}`, or `{"checks":[…]}`.
    private static func json(_ checks: [DrillCheck]) -> String {
        guard !checks.isEmpty else { return "{}" }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let bytes = try? encoder.encode(["checks": checks]) else {
            preconditionFailure("internal error: strings and numbers that are no JSON")
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
