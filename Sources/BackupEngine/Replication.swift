internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import Storage

/// What copying a backup to another backend came to.
package enum ReplicationResult: Sendable {
    case copied(BackupIdentifier, byteCount: UInt64)
    /// The same archive is there already.
    case known(BackupIdentifier)
}

/// Replicas: the same archive at another backend, as a backup of its own there.
///
/// Ciphertext goes to ciphertext; no key is needed but the one that checks the manifest. The SHA-256 of what passes must be the
/// manifest's before the copy is completed, so a damaged archive is never spread; what a replica of the source has is taken
/// from there.
///
/// | state | a failure or the end of the process here |
/// |---|---|
/// | journaled, the upload runs | the upload is aborted, now or by the next start |
/// | completed | object and sidecar are removed, now or by the next start |
/// | registered | it exists |
extension Engine {
    package func replicate(
        _ identifier: BackupIdentifier, to name: ResourceName, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> ReplicationResult {
        let target = try backend(name)
        let copy = identifier.at(name)
        do {
            guard copy != identifier else {
                throw EngineError(.invalidName, "\(identifier) is at \"\(name)\" already")
            }
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            let manifest = try manifest(of: record).manifest
            if let header = try catalog.archiveHeader(copy) {
                guard header == record.archiveHeader else {
                    throw EngineError(.alreadyExists, "\(copy) is another backup")
                }
                return .known(copy)
            }
            // The manifest goes along as it is, and with it the generation.
            let place = BackupPlace(copy, generation: record.generation)
            guard let entry = try claimJournalEntry(for: place, on: target) else {
                throw EngineError(.busy, "\(copy) is being made by somebody else")
            }
            let upload: any ObjectUpload
            let lockEnd: Int64?
            do {
                lockEnd = try carriedLockEnd(of: record, to: target)
                upload = try target.store.upload(target.archiveKey(of: place), lockedUntil: lockEnd)
                try catalog.updateUpload(entry, uploadIdentifier: upload.identifier)
            } catch {
                try? catalog.endUpload(entry)
                throw error
            }
            var (completes, isCompleted) = (false, false)
            do {
                try carry(
                    record, manifest, as: place, to: target, upload, lockEnd, entry, &completes, &isCompleted, progress)
            } catch {
                let isOthers = (error as? StorageError)?.code == .alreadyExists && !isCompleted
                giveUp(
                    upload, of: place, at: target, entry, header: completes && !isOthers ? record.archiveHeader : nil,
                    isCompleted: isCompleted)
                throw error
            }
            log.info("backup \(identifier): copied to \(name)")
            return .copied(copy, byteCount: record.archiveByteCount)
        } catch {
            throw EngineError(error, subject: "copying \(identifier) to \"\(name)\"")
        }
    }

    private func carry(
        _ record: BackupRecord, _ manifest: Manifest, as copy: BackupPlace, to target: Backend,
        _ upload: any ObjectUpload, _ lockEnd: Int64?, _ entry: Int64, _ completes: inout Bool,
        _ isCompleted: inout Bool, _ progress: ProgressReport
    ) throws {
        let identifier = record.identifier
        let source = try archiveSource(of: record)
        let digest = try ArchiveHash.compute(
            of: source, fetchers: fetchers(of: identifier.backend),
            isRemote: try backend(identifier.backend).isRemote, progress
        ) {
            try upload.append($0)
        }
        guard digest.isEqualInConstantTime(to: manifest.archiveSHA256) else {
            throw EngineError(
                .damaged, "\(identifier): the archive's SHA-256 is \(digest), not \(manifest.archiveSHA256)",
                hint: "a damaged archive is not copied; `holdfast verify` names the place")
        }
        try catalog.updateUpload(entry, phase: .complete)
        completes = true
        let stored = try upload.complete()
        isCompleted = true
        guard stored.byteCount == record.archiveByteCount else {
            throw EngineError(
                .damaged, "\(record.archiveByteCount) bytes were sent and \(stored.byteCount) are stored")
        }
        let lockedUntil = try readLock(of: target.archiveKey(of: copy), at: target, demanding: lockEnd)
        let sidecar = try ManifestSidecar.encrypt(record.manifestJSON, to: manifest.recipients)
        let manifestKey = try target.manifestKey(of: copy)
        _ = try sidecar.withUnsafeBytes { try target.store.putIfAbsent(manifestKey, $0) }
        try lockSidecar(manifestKey, at: target, until: lockEnd)
        try catalog.register(
            BackupRecord(
                identifier: copy.identifier, manifestJSON: record.manifestJSON, archiveHeader: record.archiveHeader,
                seekTable: record.seekTable, rawByteCount: record.rawByteCount,
                archiveByteCount: record.archiveByteCount, dataByteCount: record.dataByteCount,
                createdAt: record.createdAt, generation: copy.generation,
                lockedUntil: lockedUntil), finishing: entry)
    }

    /// Removes what a copy that failed has left; what cannot be removed now stays in the journal for the next start.
    private func giveUp(
        _ upload: any ObjectUpload, of copy: BackupPlace, at target: Backend, _ entry: Int64, header: [UInt8]?,
        isCompleted: Bool
    ) {
        upload.abort()
        do {
            try clear(
                entry, failed: upload.identifier, of: copy, on: target, header: header, isCompleted: isCompleted)
        } catch {
            log.error("copy \(copy): clean-up is left to the next start: \(error)")
        }
    }

    /// An archive as it is stored, where it belongs or at its replicas; no key is needed.
    func archiveSource(of record: BackupRecord) throws -> any ArchiveSource {
        let identifier = record.identifier
        let backend = try backend(identifier.backend)
        let primary = StoredObject(
            store: backend.store, key: try backend.archiveKey(of: record.place), byteCount: record.archiveByteCount)
        let replicas = try replicas(
            of: identifier, header: record.archiveHeader, byteCount: record.archiveByteCount)
        guard !replicas.isEmpty else { return primary }
        return ReplicatedSource(identifier: identifier, primary: primary, replicas: replicas, notes: replicaNotes)
    }
}
