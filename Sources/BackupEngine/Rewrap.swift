internal import AgeFormat
internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import OrgKeys
internal import Storage

/// A backup whose file key is not wrapped for the org's current key and recovery recipients, and for nobody else.
package struct RewrapNeed: Sendable {
    package let identifier: BackupIdentifier
    package let archiveByteCount: UInt64
    /// The payload does not pass through this host to be copied.
    package let isCopiedInPlace: Bool

    /// What a rewrap reads: the new archive, to prove it, and the old one where it cannot be copied in place.
    package var readByteCount: UInt64 { isCopiedInPlace ? archiveByteCount : 2 * archiveByteCount }
}

/// What a rewrap came to.
package enum RewrapResult: Sendable {
    case rewrapped
    /// The backup is the new one; the old objects could not be removed. They stay in the journal, and every start tries again.
    case rewrappedWithRemains(EngineError)
    /// There was nothing to do, or somebody else was faster.
    case current
}

/// Wrapping an archive's file key anew: another age header before the same nonce and payload.
///
/// Objects are never replaced, so the archive gets a new generation beside the old one (`BackupPlace`), whose objects go when the
/// catalog's row is about the new ones. At each moment one of the two is complete and registered. The numbers of generations
/// differ by random steps: what has this rewrap's names is this rewrap's, whatever other hosts do to the same backup.
///
/// | step | when it is done: journal | at the backend | the process ends here: the next start |
/// |---|---|---|---|
/// | 1 the journal's entry | new names, `upload` | the old generation | removes the entry |
/// | 2 new header, copy of the payload | the same | an unfinished upload | aborts it |
/// | completion | new names, `complete` | the new archive, no sidecar | removes the archive |
/// | 3 the proof: all of the new archive is read | the same | the same | the same |
/// | 4 the sidecar | the same | both generations, whole | takes the new one in, removes the old one |
/// | 5 one transaction: the row, and the journal | old names, `remove` | the same | removes the old one |
/// | 6 the old sidecar, then the old archive | the same, then none | the new generation | removes what is left |
///
/// The proof reads the new archive once and computes two hashes on the way: of the old header and the payload, which must be the
/// registered `archive_sha256`, and of what was read, which becomes the new one. So a payload that was copied wrongly, or was
/// damaged before, is found before anything is registered. A failure up to step 4 removes what there is of the new generation;
/// one after it leaves the journal to the next start, for whoever lists the backend may have found the new generation.
extension Engine {
    /// The backups of an org that need it, by name. Neither asks a backend for anything but what it can do.
    package func backupsToRewrap(
        _ org: ResourceName, where isMeant: (BackupIdentifier) -> Bool = { _ in true }
    ) throws(EngineError) -> [RewrapNeed] {
        let key = try readingKey(of: org)
        do {
            var inPlace: [ResourceName: Bool] = [:]
            var needs: [RewrapNeed] = []
            for backup in try catalog.allBackups() where backup.identifier.org == org && isMeant(backup.identifier) {
                guard let record = try catalog.access(backup.identifier),
                    try !isWrapped(manifest(of: record).manifest, for: recipients(of: key))
                else { continue }
                let name = backup.identifier.backend
                let isInPlace = try inPlace[name] ?? backend(name).store.copiesInPlace()
                inPlace[name] = isInPlace
                needs.append(
                    RewrapNeed(
                        identifier: backup.identifier, archiveByteCount: backup.archiveByteCount,
                        isCopiedInPlace: isInPlace))
            }
            return needs
        } catch {
            throw EngineError(error, subject: "the backups of org \"\(org)\"")
        }
    }

    /// Wraps the file key of one backup for the org's current key and recovery recipients. `progress` tells of the proof.
    package func rewrap(
        _ identifier: BackupIdentifier, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> RewrapResult {
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            // Whatever is wrong with key, row or header is said here.
            let old = try open(identifier)
            let key = try readingKey(of: identifier.org)
            let recipients = recipients(of: key)
            guard !isWrapped(old.manifest, for: recipients) else { return .current }
            let header = try newHeader(of: record, old.manifest, key, recipients)
            do {
                return try Rewrap(engine: self, record, old.manifest, header, key).run(progress)
            } catch {
                // Another host or process has done the same, and removed what was copied from.
                if let now = try? catalog.backup(identifier), now.generation > record.generation { return .current }
                throw error
            }
        } catch {
            throw EngineError(error, subject: "rewrapping \(identifier)")
        }
    }

    private func isWrapped(_ manifest: Manifest, for recipients: [AgeRecipient]) -> Bool {
        // The first is who sealed it.
        manifest.recipients.first == recipients.first?.string
            && Set(manifest.recipients) == Set(recipients.map(\.string))
    }

    /// The new header, with the nonce. Where another backend has a replica that is rewrapped already, the same one, so that they
    /// stay replicas.
    private func newHeader(
        of record: BackupRecord, _ manifest: Manifest, _ key: OrgKey, _ recipients: [AgeRecipient]
    ) throws -> [UInt8] {
        guard let header = try AgeHeader.parse(record.archiveHeader) else {
            throw EngineError(.catalog, "\(record.identifier): the catalog's header is cut")
        }
        let fileKey = try header.fileKey(identities: key.identities)
        let nonce = record.archiveHeader[header.byteCount...]
        for name in backends.keys.sorted() where name != record.identifier.backend {
            guard let other = try catalog.access(record.identifier.at(name)), other.generation > record.generation,
                let found = try? self.manifest(of: other).manifest, isWrapped(found, for: recipients),
                found.rawSHA256 == manifest.rawSHA256, found.seekTableSHA256 == manifest.seekTableSHA256,
                let otherHeader = try AgeHeader.parse(other.archiveHeader),
                other.archiveHeader[otherHeader.byteCount...].elementsEqual(nonce),
                let otherKey = try? otherHeader.fileKey(identities: key.identities), otherKey.isEqual(to: fileKey)
            else { continue }
            return other.archiveHeader
        }
        return try AgeHeader.make(fileKey: fileKey, recipients: recipients, random: SystemRandomSource()) + nonce
    }
}

/// One rewrap under way.
private struct Rewrap {
    private let engine: Engine
    private let backend: Backend
    private let record: BackupRecord
    private let manifest: Manifest
    /// The new one, with the nonce.
    private let header: [UInt8]
    private let key: OrgKey
    private let place: BackupPlace
    private let archiveKey: ObjectKey
    private let manifestKey: ObjectKey
    private let archiveByteCount: UInt64

    /// How far the number of the next generation is from the last one's.
    private static let steps: ClosedRange<UInt64> = 1...1 << 20

    init(
        engine: Engine, _ record: BackupRecord, _ manifest: Manifest, _ header: [UInt8], _ key: OrgKey
    ) throws {
        self.engine = engine
        self.record = record
        self.manifest = manifest
        self.header = header
        self.key = key
        backend = try engine.backend(record.identifier.backend)
        place = BackupPlace(record.identifier, generation: record.generation + UInt64.random(in: Self.steps))
        archiveKey = try backend.archiveKey(of: place)
        manifestKey = try backend.manifestKey(of: place)
        archiveByteCount =
            record.archiveByteCount - UInt64(record.archiveHeader.count) + UInt64(header.count)
    }

    func run(_ progress: ProgressReport) throws -> RewrapResult {
        let entry = try engine.openJournalEntry(for: place, on: backend, .upload)
        var upload: (any ObjectUpload)?
        let new: BackupRecord
        do {
            try copy(entry, &upload)
            new = newRecord(archiveSHA256: try prove(progress))
        } catch {
            giveUp(entry, upload)
            throw error
        }
        // From here on the new generation may be found by others: a failure leaves it to the next start to finish.
        let sidecar = try ManifestSidecar.encrypt(new.manifestJSON, to: engine.recipients(of: key).map(\.string))
        _ = try sidecar.withUnsafeBytes { try backend.store.putIfAbsent(manifestKey, $0) }
        let old = record.place
        let move = try engine.catalog.move(
            new, from: record.generation, journal: entry, oldArchiveKey: backend.archiveKey(of: old).string,
            oldManifestKey: backend.manifestKey(of: old).string)
        guard move == .moved else {
            giveUp(entry, nil)
            return .current
        }
        try? engine.catalog.noteCheck(
            place.identifier, .archive, at: engine.clock.secondsSince1970, outcome: CheckRecord.good, detail: "")
        engine.log.info("backup \(place.identifier): wrapped anew for \(key.recipient), generation \(place.generation)")
        do {
            try engine.removeObjects(of: old, at: backend, entry)
            return .rewrapped
        } catch {
            let failure = EngineError(error, subject: "the old archive of \(place.identifier)")
            engine.log.warning("\(failure): it is left to the next start")
            return .rewrappedWithRemains(failure)
        }
    }

    /// Step 2: the new archive, under its name.
    private func copy(_ entry: Int64, _ upload: inout (any ObjectUpload)?) throws {
        let new = try backend.store.upload(archiveKey)
        upload = new
        try engine.catalog.updateUpload(entry, uploadIdentifier: new.identifier)
        try header.withUnsafeBytes { try new.append($0) }
        try new.append(
            copying: backend.archiveKey(of: record.place),
            UInt64(record.archiveHeader.count)..<record.archiveByteCount)
        try engine.catalog.updateUpload(entry, phase: .complete)
        let stored = try new.complete()
        guard stored.byteCount == archiveByteCount else {
            throw EngineError(.damaged, "\(archiveByteCount) bytes were copied and \(stored.byteCount) are stored")
        }
    }

    /// Step 3. Returns the SHA-256 of the new archive, as it is stored.
    private func prove(_ progress: ProgressReport) throws -> SHA256Digest {
        var oldHash = SHA256Hasher()
        record.archiveHeader.withUnsafeBytes { oldHash.update($0) }
        var stored: [UInt8] = []
        let source = StoredObject(store: backend.store, key: archiveKey, byteCount: archiveByteCount)
        let digest = try ArchiveHash.compute(
            of: source, fetchers: engine.fetchers(of: backend.name), isRemote: backend.isRemote, progress
        ) { bytes in
            let rest = min(bytes.count, header.count - stored.count)
            stored += bytes[..<rest]
            oldHash.update(UnsafeRawBufferPointer(rebasing: bytes[rest...]))
        }
        guard stored == header else {
            throw EngineError(.damaged, "the new archive does not begin with the header that was sent")
        }
        let oldDigest = oldHash.finalize()
        guard oldDigest.isEqualInConstantTime(to: manifest.archiveSHA256) else {
            throw EngineError(
                .damaged,
                "the archive's SHA-256 is \(oldDigest), not \(manifest.archiveSHA256): it is damaged, or was copied wrongly",
                hint: "the backup is as it was; `holdfast verify --raw` names the place")
        }
        return digest
    }

    private func newRecord(archiveSHA256: SHA256Digest) -> BackupRecord {
        var new = manifest
        new.generation = place.generation
        new.headerSHA256 = SHA256Hasher.digest(of: header)
        new.archiveSHA256 = archiveSHA256
        new.archiveByteCount = archiveByteCount
        new.recipients = engine.recipients(of: key).map(\.string)
        return BackupRecord(
            identifier: record.identifier, manifestJSON: new.sealed(with: key.currentSealKey), archiveHeader: header,
            seekTable: record.seekTable, rawByteCount: record.rawByteCount, archiveByteCount: archiveByteCount,
            dataByteCount: record.dataByteCount, createdAt: record.createdAt, generation: place.generation)
    }

    /// Removes what there is of the new generation, unless somebody has found it whole and registered it.
    private func giveUp(_ entry: Int64, _ upload: (any ObjectUpload)?) {
        upload?.abort()
        do {
            if let upload { try backend.store.abortUpload(identifier: upload.identifier, key: archiveKey) }
            guard try engine.catalog.backup(place.identifier)?.place != place else {
                return try engine.catalog.endUpload(entry)
            }
            try engine.catalog.updateUpload(entry, phase: .remove)
            try engine.removeObjects(of: place, at: backend, entry)
        } catch {
            engine.log.error("\(place): clean-up is left to the next start: \(error)")
        }
    }
}
