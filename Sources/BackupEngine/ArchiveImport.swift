internal import AgeFormat
internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import DiskImage
internal import Logging
internal import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Storage

/// Registering an archive that somebody else has put at a backend: a plain `zstd | age` object, as a shell pipeline makes it, or
/// one of ours without its sidecar.
///
/// It stays where it is, and is never touched; one pass over it finds out what a manifest says. Only a sidecar is added, at the place
/// that the backup's name gives, so that a rebuild of the catalog takes the backup in again.
///
/// | the process ends | what is left |
/// |---|---|
/// | in the pass | nothing but the journal's entry, which holds the name; the next start removes it |
/// | behind the sidecar | the backup, whole: `catalog refresh` or `rebuild` finds it |
extension Engine {
    /// Imports the object of that key (below the backend's prefix) as a backup of `disk`, made at `date`. Returns its manifest.
    ///
    /// Throws `.alreadyExists` where the name is taken, or the object is a registered backup's; `.wrongKey` where none of the
    /// org's identities opens it; `.damaged` for an archive that is not whole, or holds no zstd stream.
    package func importArchive(
        _ object: String, as disk: DiskName, of date: BackupDate, at backend: Backend,
        progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> VerifiedManifest {
        let identifier = BackupIdentifier(
            backend: backend.name, org: disk.org, vm: disk.vm, date: date, disk: disk.disk)
        do {
            let key = try readingKey(of: disk.org)
            let place = BackupPlace(identifier, generation: 0, archiveObject: object)
            try checkIsFree(place, at: backend)
            let objectKey = try backend.archiveKey(of: place)
            let stored: ObjectFacts
            do throws(StorageError) {
                stored = try backend.store.head(objectKey)
            } catch {
                guard error.code == .absent else { throw error }
                throw EngineError(.notFound, "there is no object \"\(object)\" at backend \"\(backend.name)\"")
            }
            guard let entry = try claimJournalEntry(for: place, on: backend) else {
                throw EngineError(.busy, "\(identifier) is being made by somebody else")
            }
            do {
                let source = StoredObject(store: backend.store, key: objectKey, byteCount: stored.byteCount)
                let found = try examine(source, place, at: backend, key, progress)
                return try register(found, place, at: backend, key, entry)
            } catch {
                try? catalog.endUpload(entry)
                throw error
            }
        } catch {
            throw EngineError(error, subject: "importing \"\(object)\" as \(identifier)")
        }
    }

    private func checkIsFree(_ place: BackupPlace, at backend: Backend) throws {
        let identifier = place.identifier
        guard try catalog.backup(identifier) == nil else {
            throw EngineError(
                .alreadyExists, "\(identifier) is registered already", hint: "choose another --date or --disk")
        }
        if let other = try catalog.backup(withArchive: place.archiveKey, at: backend.name) {
            throw EngineError(.alreadyExists, "the object is the archive of \(other)")
        }
        do throws(StorageError) {
            _ = try backend.store.head(try backend.manifestKey(of: place))
        } catch {
            guard error.code == .absent else { throw error }
            return
        }
        throw EngineError(
            .alreadyExists, "\(identifier) has a sidecar at the backend, and is not registered here",
            hint: "`holdfast catalog rebuild` takes it in")
    }

    // MARK: The pass

    /// What an archive turned out to be.
    private struct Found {
        let header: [UInt8]
        /// Empty for a foreign one.
        let seekTable: [UInt8]
        let frameByteCount: Int
        let archiveByteCount: UInt64
        let rawByteCount: UInt64
        let dataByteCount: UInt64
        let hashes: ArchiveScan.Hashes
        let partitions: [Partition]
        /// Those of the org's keys that open it.
        let recipients: [String]
    }

    private func examine(
        _ source: StoredObject, _ place: BackupPlace, at backend: Backend, _ key: OrgKey, _ progress: ProgressReport
    ) throws -> Found {
        let header = try ArchiveReader.readHeader(of: source)
        let options = ArchiveScan.Options(fetchers: fetchers(of: backend.name))
        if let reader = try seekableReader(of: source, header, key) {
            log.info("\"\(place.archiveKey)\" has a seek table: it is imported with its frames")
            let total = reader.rawByteCount
            let outcome = try ArchiveScan.run(
                reader, source: source, workers: workers, decoders: decoders, options,
                progress: { try progress($0, total) })
            let raw = RawReader(reader: reader)
            let table = reader.seekTable
            return Found(
                header: header, seekTable: table.serialized(), frameByteCount: Int(table.maximumDataFrameRawByteCount),
                archiveByteCount: source.byteCount, rawByteCount: total, dataByteCount: table.dataByteCount,
                hashes: try hashes(outcome),
                partitions: try shownPartitions(place) {
                    try PartitionTable.read(imageByteCount: total) { try raw.read(at: $0, into: $1) }?.partitions ?? []
                }, recipients: try recipients(opening: header, key))
        }
        let reader = try PayloadReader(
            header: header, archiveByteCount: source.byteCount, identities: key.identities)
        let partitions = PassingPartitions()
        var scanned = options
        scanned.deliver = { _, pieces, done in
            for piece in pieces { partitions.take(piece) }
            done(nil)
        }
        let result = try ForeignScan.run(
            reader, header: header, source: source, workers: workers, expectedByteCount: nil, scanned,
            progress: { try progress($1, source.byteCount) })
        return Found(
            header: header, seekTable: [], frameByteCount: 0, archiveByteCount: source.byteCount,
            rawByteCount: result.rawByteCount, dataByteCount: result.dataByteCount,
            hashes: try hashes(result.outcome), partitions: try shownPartitions(place) { try partitions.find() },
            recipients: try recipients(opening: header, key))
    }

    /// nil where the archive does not end with a seek table that we take.
    private func seekableReader(
        of source: StoredObject, _ header: [UInt8], _ key: OrgKey
    ) throws -> ArchiveReader? {
        do throws(ArchiveError) {
            return try ArchiveReader.open(source: source, identities: key.identities, header: header)
        } catch {
            guard error.code == .seekTable else { throw error }
            return nil
        }
    }

    private func hashes(_ outcome: ArchiveScan.Outcome) throws -> ArchiveScan.Hashes {
        guard let hashes = outcome.hashes else {
            preconditionFailure("internal error: a pass that tolerates nothing has hashed everything")
        }
        return hashes
    }

    /// A table that contradicts itself is the guest's affair: the backup is good, it shows no partitions.
    private func shownPartitions(_ place: BackupPlace, _ find: () throws -> [Partition]) throws -> [Partition] {
        do {
            return try find()
        } catch let error as DiskImageError {
            log.notice("\(place): no partitions are shown: \(error)")
            return []
        }
    }

    /// Who else it is encrypted to, its header does not tell.
    private func recipients(opening header: [UInt8], _ key: OrgKey) throws -> [String] {
        guard let parsed = try AgeHeader.parse(header) else {
            preconditionFailure("internal error: a header that was read is cut")
        }
        return key.identities.filter { (try? parsed.fileKey(identities: [$0])) != nil }.map(\.recipient.string)
    }

    // MARK: Registering

    private func register(
        _ found: Found, _ place: BackupPlace, at backend: Backend, _ key: OrgKey, _ entry: Int64
    ) throws -> VerifiedManifest {
        guard found.rawByteCount > 0 else { throw EngineError(.emptyImage, "the image in the archive is empty") }
        let identifier = place.identifier
        let createdAt = identifier.date.secondsSince1970
        var manifest = Manifest(
            identifier: identifier, createdAt: createdAt, region: backend.region, country: backend.country,
            rawByteCount: found.rawByteCount, rawSHA256: found.hashes.rawSHA256,
            archiveByteCount: found.archiveByteCount, archiveSHA256: found.hashes.archiveSHA256,
            headerSHA256: SHA256Hasher.digest(of: found.header),
            seekTableSHA256: SHA256Hasher.digest(of: found.seekTable), frameByteCount: found.frameByteCount,
            zstdLevel: 0, recipients: found.recipients, consistency: "imported", toolVersion: Engine.toolVersion,
            uploadMilliseconds: 0,
            partitions: found.partitions.map {
                ManifestPartition(
                    number: $0.number, rawOffset: $0.rawOffset, byteCount: $0.byteCount, type: $0.typeIdentifier,
                    name: $0.name)
            })
        manifest.archiveObject = place.archiveObject
        if found.seekTable.isEmpty { manifest.dataByteCount = found.dataByteCount }
        let sealed = manifest.sealed(with: key.currentSealKey)
        let sidecar = try ManifestSidecar.encrypt(sealed, to: found.recipients)
        let manifestKey = try backend.manifestKey(of: place)
        _ = try sidecar.withUnsafeBytes { try backend.store.putIfAbsent(manifestKey, $0) }
        let record = BackupRecord(
            identifier: identifier, manifestJSON: sealed, archiveHeader: found.header, seekTable: found.seekTable,
            rawByteCount: found.rawByteCount, archiveByteCount: found.archiveByteCount,
            dataByteCount: found.dataByteCount, createdAt: createdAt, archiveObject: place.archiveObject,
            lockedUntil: try readLock(of: backend.archiveKey(of: place), at: backend))
        do {
            try catalog.register(record, finishing: entry)
        } catch {
            // Only the sidecar is ours.
            try? backend.store.delete(manifestKey)
            throw error
        }
        log.info("backup \(identifier): imported, \(found.rawByteCount) bytes raw")
        return VerifiedManifest(manifest: manifest, json: sealed)
    }
}
