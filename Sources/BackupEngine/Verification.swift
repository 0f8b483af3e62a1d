package import BackupNames
package import Catalog
package import CryptoPrimitives
internal import Glibc
internal import Logging
internal import Manifest
internal import OrgKeys
internal import Storage

/// How far a long operation is: bytes done of bytes in all.
package typealias ProgressReport = (_ done: UInt64, _ total: UInt64) throws -> Void

/// One thing that a check found wrong.
package struct CheckFinding: Sendable {
    package let error: EngineError
    /// The place, where it is known.
    package let damage: ArchiveDamage?
    /// It is about the sidecar; else about the archive.
    package let isOfSidecar: Bool

    package init(_ error: EngineError, _ damage: ArchiveDamage? = nil, isOfSidecar: Bool = false) {
        self.error = error
        self.damage = damage
        self.isOfSidecar = isOfSidecar
    }
}

/// What a check of a backup found.
package struct CheckReport: Sendable {
    package let identifier: BackupIdentifier
    package let depth: CheckDepth
    /// Empty for a good backup.
    package var findings: [CheckFinding] = []
    package let archiveByteCount: UInt64
    package let rawByteCount: UInt64
    /// As found; nil where not all of it was read.
    package var archiveSHA256: SHA256Digest?
    package var rawSHA256: SHA256Digest?
    /// Raw bytes that no copy of the archive has.
    package var lostByteCount: UInt64 = 0
    package var fetchedByteCount: UInt64 = 0

    package var isGood: Bool { findings.isEmpty }
}

/// What a verification found to be right. What is wrong is thrown.
package struct VerificationResult: Sendable {
    package let identifier: BackupIdentifier
    package let archiveByteCount: UInt64
    package let archiveSHA256: SHA256Digest
    /// nil where only the archive was looked at.
    package let rawSHA256: SHA256Digest?
    package let rawByteCount: UInt64
}

/// Checks of backups.
///
/// | depth | looks at | needs | costs |
/// |---|---|---|---|
/// | presence | the archive's size, the sidecar and its MAC | the org's key for the MAC; without it the sidecar's size | one HEAD, one small GET |
/// | archive | that, and the SHA-256 of the archive | nothing | the whole archive |
/// | raw | that, every chunk and frame, and the SHA-256 of the image | a key that reads | the whole archive, and decoding |
///
/// What is wrong with the backup is a finding, and the check goes on as far as it can; what keeps a check from being made (a
/// backend that is away, no key) is thrown, and leaves what was known before. Findings and times go into the catalog.
extension Engine {
    /// Checks a registered backup.
    package func check(
        _ identifier: BackupIdentifier, _ depth: CheckDepth, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> CheckReport {
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            // A check of the raw image opens it, which says what is wrong with key and row before anything is asked.
            let backup = depth == .raw ? try open(identifier) : nil
            let expected = try checkedManifest(of: record)
            var presence = CheckReport(
                identifier: identifier, depth: .presence, archiveByteCount: expected.archiveByteCount,
                rawByteCount: expected.rawByteCount)
            try checkPresence(record, &presence)
            // It was wrapped anew meanwhile: what was looked at is not the backup any more.
            if !presence.isGood, try catalog.backup(identifier)?.generation ?? record.generation != record.generation {
                return try check(identifier, depth, progress: progress)
            }
            try note(presence)
            guard depth != .presence else { return presence }
            var report = CheckReport(
                identifier: identifier, depth: depth, archiveByteCount: expected.archiveByteCount,
                rawByteCount: expected.rawByteCount)
            report.fetchedByteCount = presence.fetchedByteCount
            if presence.findings.contains(where: { $0.error.code == .notFound }) {
                report.findings = presence.findings
            } else if let backup {
                try checkRaw(backup, &report, progress)
            } else {
                try checkArchive(record.place, expected, &report, progress)
            }
            try note(report)
            // What only the lesser check found is wrong, too.
            let known = Set(report.findings.map(\.error.detail))
            report.findings += presence.findings.filter { !known.contains($0.error.detail) }
            return report
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// The same, where the first finding is an error: `.swapped`, `.truncated`, `.damaged`, `.notAuthentic`, … naming the place.
    package func verify(
        _ identifier: BackupIdentifier, _ depth: CheckDepth, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> VerificationResult {
        let report = try check(identifier, depth, progress: progress)
        if let first = report.findings.first { throw first.error }
        guard let archiveSHA256 = report.archiveSHA256 else {
            throw EngineError(.invalidName, "a check of presence has no hash")
        }
        return VerificationResult(
            identifier: identifier, archiveByteCount: report.archiveByteCount, archiveSHA256: archiveSHA256,
            rawSHA256: report.rawSHA256, rawByteCount: report.rawByteCount)
    }

    /// Verified where this host has a key of the org; only where it has none is the manifest taken as the catalog holds it.
    private func checkedManifest(of record: BackupRecord) throws -> Manifest {
        do throws(KeyError) {
            _ = try keys.key(for: record.identifier.org)
        } catch {
            guard error.code == .absent else { throw error }
            return try Manifest(unverified: record.manifestJSON)
        }
        return try manifest(of: record).manifest
    }

    /// Writes a finished check down. One that found nothing wrong clears what was known to be damaged, if it looked there.
    private func note(_ report: CheckReport) throws {
        let time = clock.secondsSince1970
        let first = report.findings.first?.error
        let identifier = report.identifier
        try catalog.noteCheck(
            identifier, report.depth, at: time, outcome: first?.code.rawValue ?? CheckRecord.good,
            detail: first?.detail ?? "")
        if let first { log.error("check of \(identifier): \(first.detail)") }
        guard report.depth != .presence else { return }
        if report.depth == .raw {
            // The whole archive was hashed on the way.
            let isWhole = report.findings.allSatisfy { $0.damage?.isHealed ?? false } && report.archiveSHA256 != nil
            if isWhole, report.isGood {
                try catalog.noteCheck(identifier, .archive, at: time, outcome: CheckRecord.good, detail: "")
            }
            try catalog.setDamage(
                identifier,
                report.findings.compactMap { $0.damage?.record(foundAt: time) })
        } else if report.isGood {
            try catalog.setDamage(identifier, [])
        }
    }
}
