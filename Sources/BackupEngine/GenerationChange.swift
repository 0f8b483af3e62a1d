internal import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import Storage

/// An archive written anew beside the old one, whose place it takes: with another header (`rewrap`), or from what its copies have
/// (`repair`).
///
/// Objects are never replaced, so the archive gets a new generation beside the old one (`BackupPlace`), whose objects go when the
/// catalog's row is about the new ones. At each moment one of the two is registered, and no worse than it was. The numbers of
/// generations differ by random steps: what has this change's names is this change's, whatever other hosts do to the same backup.
///
/// | step | when it is done: journal | at the backend | the process ends here: the next start |
/// |---|---|---|---|
/// | 1 the journal's entry | new names, `upload` | the old generation | removes the entry |
/// | 2 header and payload | the same | an unfinished upload | aborts it |
/// | completion | new names, `complete` | the new archive, no sidecar | removes the archive |
/// | 3 the proof: all of the new archive is read | the same | the same | the same |
/// | 4 the sidecar | the same | both generations | takes the new one in, removes the old one |
/// | 5 one transaction: the row, and the journal | old names, `remove` | the same | removes the old one |
/// | 6 the old sidecar, then the old archive | the same, then none | the new generation | removes what is left |
///
/// The proof reads the new archive once and computes two hashes on the way: of the old header and the payload, which must be the
/// registered `archive_sha256`, and of what was read, which becomes the new one. So a payload that was copied wrongly, or was
/// damaged before, is found before anything is registered. A failure up to step 4 removes what there is of the new generation;
/// one after it leaves the journal to the next start, for whoever lists the backend may have found the new generation.
struct GenerationChange {
    enum Outcome {
        case done
        /// The backup is the new one; the old objects could not be removed. They stay in the journal, and every start tries again.
        case doneWithRemains(EngineError)
        /// The row is about another generation than it was, or gone.
        case overtaken
    }

    let place: BackupPlace
    private let engine: Engine
    private let backend: Backend
    private let record: BackupRecord
    private let manifest: Manifest
    /// The new one, with the nonce.
    private let header: [UInt8]
    private let recipients: [String]
    private let sealKey: SecretBytes
    private let archiveKey: ObjectKey
    private let manifestKey: ObjectKey
    private let archiveByteCount: UInt64

    /// How far the number of the next generation is from the last one's.
    private static let steps: ClosedRange<UInt64> = 1...1 << 20

    /// - Parameters:
    ///   - header: the new one, with the nonce; the payload is the same as before.
    ///   - recipients: whom the header is for, and the sidecar.
    init(
        engine: Engine, _ record: BackupRecord, _ manifest: Manifest, header: [UInt8], recipients: [String],
        sealKey: SecretBytes
    ) throws {
        self.engine = engine
        self.record = record
        self.manifest = manifest
        self.header = header
        self.recipients = recipients
        self.sealKey = sealKey
        backend = try engine.backend(record.identifier.backend)
        place = BackupPlace(record.identifier, generation: record.generation + UInt64.random(in: Self.steps))
        archiveKey = try backend.archiveKey(of: place)
        manifestKey = try backend.manifestKey(of: place)
        archiveByteCount =
            record.archiveByteCount - UInt64(record.archiveHeader.count) + UInt64(header.count)
    }

    /// `write` appends the whole archive, header and all; `progress` tells of the proof.
    func run(_ progress: ProgressReport, write: (any ObjectUpload, Backend) throws -> Void) throws -> Outcome {
        let entry = try engine.openJournalEntry(for: place, on: backend, .upload)
        var upload: (any ObjectUpload)?
        var lockEnd: Int64?
        let new: BackupRecord
        do {
            try store(entry, &upload, &lockEnd, write)
            let digest = try prove(progress)
            new = newRecord(
                archiveSHA256: digest,
                lockedUntil: try engine.readLock(of: archiveKey, at: backend, demanding: lockEnd))
        } catch {
            giveUp(entry, upload)
            throw error
        }
        // From here on the new generation may be found by others: a failure leaves it to the next start to finish.
        let sidecar = try ManifestSidecar.encrypt(new.manifestJSON, to: recipients)
        _ = try sidecar.withUnsafeBytes { try backend.store.putIfAbsent(manifestKey, $0) }
        try engine.lockSidecar(manifestKey, at: backend, until: lockEnd)
        let old = record.place
        let move = try engine.catalog.move(
            new, from: record.generation, journal: entry, oldArchiveKey: backend.archiveKey(of: old).string,
            oldManifestKey: backend.manifestKey(of: old).string)
        guard move == .moved else {
            giveUp(entry, nil)
            return .overtaken
        }
        try? engine.catalog.noteCheck(
            place.identifier, .archive, at: engine.clock.secondsSince1970, outcome: CheckRecord.good, detail: "")
        do {
            try engine.removeObjects(of: old, at: backend, entry)
            return .done
        } catch {
            let failure = EngineError(error, subject: "the old archive of \(place.identifier)")
            engine.log.warning("\(failure): it is left to the next start")
            return .doneWithRemains(failure)
        }
    }

    /// Step 2: the new archive, under its name.
    private func store(
        _ entry: Int64, _ upload: inout (any ObjectUpload)?, _ lockEnd: inout Int64?,
        _ write: (any ObjectUpload, Backend) throws -> Void
    ) throws {
        // As long as the old one; a legal hold is whoever's set it.
        let end = try engine.lockEnd(of: backend.archiveKey(of: record.place), at: backend).flatMap {
            $0 < .max && $0 > engine.clock.secondsSince1970 ? $0 : nil
        }
        lockEnd = end
        let new = try backend.store.upload(archiveKey, lockedUntil: end)
        upload = new
        try engine.catalog.updateUpload(entry, uploadIdentifier: new.identifier)
        try write(new, backend)
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

    private func newRecord(archiveSHA256: SHA256Digest, lockedUntil: Int64?) -> BackupRecord {
        var new = manifest
        new.generation = place.generation
        new.archiveObject = nil
        new.headerSHA256 = SHA256Hasher.digest(of: header)
        new.archiveSHA256 = archiveSHA256
        new.archiveByteCount = archiveByteCount
        new.recipients = recipients
        return BackupRecord(
            identifier: record.identifier, manifestJSON: new.sealed(with: sealKey), archiveHeader: header,
            seekTable: record.seekTable, rawByteCount: record.rawByteCount, archiveByteCount: archiveByteCount,
            dataByteCount: record.dataByteCount, createdAt: record.createdAt, generation: place.generation,
            lockedUntil: lockedUntil)
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
