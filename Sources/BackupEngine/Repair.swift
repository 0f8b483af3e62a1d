internal import AgeFormat
internal import Archive
internal import BackupNames
internal import Catalog
internal import Logging
internal import Manifest
internal import OrgKeys
internal import Storage

/// What a repair did. All is as it was when the backup was made, but for the generation of an archive that was written anew.
package enum RepairResult: Sendable {
    /// The archive was written anew, from what its copies have, and its sidecar with it.
    case archive
    /// The same; the damaged objects could not be removed. They stay in the journal, and every start tries again.
    case archiveWithRemains(EngineError)
    /// The sidecar was put again.
    case sidecar
    /// Nothing was wrong, or somebody else was faster.
    case nothing
}

/// Putting the good bytes back, after a check that found something.
///
/// An archive is written anew as its next generation (`GenerationChange`: nothing damaged is overwritten or removed before the new
/// one has been read and is right), each chunk from the first copy that has it as it was written: the archive itself, then its
/// replicas. The header stays, so it stays the replica of its replicas.
///
/// A sidecar has no generation of its own: one that is wrong is removed, then put from the catalog's manifest. Where that ends in
/// between, it is missing, which the next check says and the next repair mends; the catalog has what it holds all the time.
extension Engine {
    /// Repairs what a check has found. Throws `.damaged` and changes nothing where no copy has some of the bytes; `.noKey` without a
    /// key that reads.
    package func repair(
        _ report: CheckReport, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> RepairResult {
        let identifier = report.identifier
        guard !report.isGood else { return .nothing }
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            let result: RepairResult
            if report.findings.contains(where: { !$0.isOfSidecar }) {
                // Whatever is wrong with key, row or header is said here.
                let backup = try open(identifier)
                result = try repairArchive(record, backup.manifest, progress)
                // The image was right when all of its frames were, wherever they came from.
                if report.depth == .raw, report.rawSHA256 == backup.manifest.rawSHA256 {
                    try catalog.noteCheck(
                        identifier, .raw, at: clock.secondsSince1970, outcome: CheckRecord.good, detail: "")
                } else if report.depth == .raw, let first = try check(identifier, .raw).findings.first {
                    throw first.error
                }
            } else {
                try repairSidecar(record)
                result = .sidecar
            }
            if let first = try check(identifier, .presence).findings.first { throw first.error }
            return result
        } catch {
            throw EngineError(error, subject: "repairing \(identifier)")
        }
    }

    private func repairArchive(
        _ record: BackupRecord, _ manifest: Manifest, _ progress: ProgressReport
    ) throws -> RepairResult {
        let identifier = record.identifier
        let key = try readingKey(of: identifier.org)
        // Who sealed it goes on vouching for it.
        let sealKey = key.sealKeys.first { (try? Manifest(verifying: record.manifestJSON, sealKeys: [$0])) != nil }
        let change = try GenerationChange(
            engine: self, record, manifest, header: record.archiveHeader, recipients: manifest.recipients,
            sealKey: sealKey ?? key.currentSealKey)
        let source = try AuthenticatedSource(
            archiveSource(of: record), header: record.archiveHeader, identities: key.identities)
        let outcome = try change.run(progress) { upload, backend in
            _ = try ArchiveHash.compute(
                of: source, fetchers: fetchers(of: backend.name), isRemote: backend.isRemote,
                and: { try upload.append($0) })
        }
        switch outcome {
        case .done, .doneWithRemains:
            log.notice("backup \(identifier): its archive is repaired, generation \(change.place.generation)")
            if case .doneWithRemains(let error) = outcome { return .archiveWithRemains(error) }
            return .archive
        case .overtaken: return .nothing
        }
    }

    private func repairSidecar(_ record: BackupRecord) throws {
        let manifest = try manifest(of: record).manifest
        let backend = try backend(record.identifier.backend)
        let key = try backend.manifestKey(of: record.place)
        let sidecar = try ManifestSidecar.encrypt(record.manifestJSON, to: manifest.recipients)
        do {
            try purge(key, at: backend)
        } catch let error as EngineError where error.code == .held {
            // A store that locks keeps versions: the wrong one is hidden.
            try backend.store.delete(key)
        }
        do {
            _ = try sidecar.withUnsafeBytes { try backend.store.putIfAbsent(key, $0) }
        } catch let error as StorageError where error.code == .alreadyExists {
            // One that was beneath the wrong one: the check that follows says whether it is right.
            log.notice("backup \(record.identifier): an older version of its sidecar is there again")
        }
        try lockSidecar(key, at: backend, until: carriedLockEnd(of: record, to: backend))
        log.notice("backup \(record.identifier): its sidecar is repaired")
    }
}
