internal import AgeFormat
package import Archive
package import BackupNames
package import Catalog
internal import CryptoPrimitives
package import Manifest
internal import OrgKeys
internal import RangeCache
internal import SeekableZstd
internal import Storage

/// A backup whose manifest is verified: authentic, and about this very name.
package struct VerifiedManifest: Sendable {
    package let manifest: Manifest
    /// The sealed JSON, as it is shown.
    package let json: [UInt8]
}

/// A backup that is opened to be read: the archive's header is the one the manifest pins, so each frame that the reader
/// gives is as trustworthy as the manifest.
package final class OpenBackup: Sendable {
    /// How the archive can be read.
    package enum Content: Sendable {
        /// At random: one of ours, or the local copy of a foreign one.
        case frames(ArchiveReader)
        /// From front to back: a plain `zstd | age` file.
        case foreign(PayloadReader)
    }

    package let identifier: BackupIdentifier
    package let manifest: Manifest
    package let content: Content
    /// The registered archive's header and nonce.
    package let header: [UInt8]
    /// Raw bytes outside holes.
    package let dataByteCount: UInt64
    /// The archive at the backend itself.
    package let source: StoredObject
    /// The same, and its replicas where it is damaged or away; what is verified is read from here.
    package let replicatedSource: any ArchiveSource
    /// That through the disk cache, where there is one: what `reader` reads.
    package let cachedSource: any ArchiveSource
    package let hasReplicas: Bool

    init(
        manifest: Manifest, content: Content, header: [UInt8], dataByteCount: UInt64, source: StoredObject,
        replicatedSource: any ArchiveSource, cachedSource: any ArchiveSource, hasReplicas: Bool
    ) {
        identifier = manifest.identifier
        self.manifest = manifest
        self.content = content
        self.header = header
        self.dataByteCount = dataByteCount
        self.source = source
        self.replicatedSource = replicatedSource
        self.cachedSource = cachedSource
        self.hasReplicas = hasReplicas
    }

    package var rawByteCount: UInt64 { manifest.rawByteCount }

    /// What reads it at random; throws for a foreign archive.
    package var reader: ArchiveReader {
        get throws(EngineError) {
            guard case .frames(let reader) = content else {
                throw EngineError(.notFound, "\(identifier) is a foreign archive: it has no seek table")
            }
            return reader
        }
    }

    package var isForeign: Bool {
        if case .foreign = content { true } else { false }
    }

    /// The same backup, read at random through a local copy.
    func reading(_ copy: ArchiveReader) -> OpenBackup {
        OpenBackup(
            manifest: manifest, content: .frames(copy), header: header, dataByteCount: dataByteCount, source: source,
            replicatedSource: replicatedSource, cachedSource: cachedSource, hasReplicas: hasReplicas)
    }
}

extension Engine {
    /// The manifest of a registered backup, its MAC and its agreement with the catalog's row checked.
    package func manifest(of record: BackupRecord) throws(EngineError) -> VerifiedManifest {
        let identifier = record.identifier
        let key = try key(of: identifier.org)
        do {
            var manifest = try Manifest(verifying: record.manifestJSON, sealKeys: key.sealKeys)
            // A backend may have another name here than on the host that made the backup: then this host's name counts.
            let named = manifest.identifier
            manifest.identifier = BackupIdentifier(
                backend: identifier.backend, org: named.org, vm: named.vm, date: named.date, disk: named.disk)
            guard manifest.identifier == identifier else {
                throw EngineError(.swapped, "\(identifier): the manifest is that of \(manifest.identifier)")
            }
            guard manifest.rawByteCount == record.rawByteCount, manifest.archiveByteCount == record.archiveByteCount,
                manifest.createdAt == record.createdAt, manifest.generation == record.generation
            else {
                throw EngineError(
                    .catalog, "\(identifier): the catalog's row contradicts the manifest", hint: rebuildHint)
            }
            return VerifiedManifest(manifest: manifest, json: record.manifestJSON)
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// The partitions that a registered backup's verified manifest lists.
    package func partitions(of identifier: BackupIdentifier) throws(EngineError) -> [ManifestPartition] {
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            return try manifest(of: record).manifest.partitions
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// Opens a registered backup without a request: header and seek table come from the catalog, and must be those that the
    /// manifest pins.
    package func open(_ identifier: BackupIdentifier) throws(EngineError) -> OpenBackup {
        let backend = try backend(identifier.backend)
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            let manifest = try manifest(of: record).manifest
            let key = try readingKey(of: identifier.org)
            guard SHA256Hasher.digest(of: record.archiveHeader).isEqualInConstantTime(to: manifest.headerSHA256) else {
                throw EngineError(
                    .catalog, "\(identifier): the archive header in the catalog is not the one the manifest names",
                    hint: rebuildHint)
            }
            guard SHA256Hasher.digest(of: record.seekTable).isEqualInConstantTime(to: manifest.seekTableSHA256) else {
                throw EngineError(
                    .catalog, "\(identifier): the seek table in the catalog is not the one the manifest names",
                    hint: rebuildHint)
            }
            let source = StoredObject(
                store: backend.store, key: try backend.archiveKey(of: record.place), byteCount: record.archiveByteCount)
            let replicas = try replicas(
                of: identifier, header: record.archiveHeader, byteCount: record.archiveByteCount)
            let replicatedSource = FollowingSource(
                replicas.isEmpty
                    ? source
                    : ReplicatedSource(
                        identifier: identifier, primary: source, replicas: replicas, notes: replicaNotes), record,
                engine: self)
            var cachedSource: any ArchiveSource = replicatedSource
            if backend.isRemote, let rangeCache {
                cachedSource = rangeCache.source(
                    identity: manifest.headerSHA256.bytes, gridOrigin: UInt64(record.archiveHeader.count),
                    over: replicatedSource)
            }
            return OpenBackup(
                manifest: manifest, content: try content(of: record, manifest, cachedSource, key),
                header: record.archiveHeader, dataByteCount: record.dataByteCount, source: source,
                replicatedSource: replicatedSource, cachedSource: cachedSource, hasReplicas: !replicas.isEmpty)
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    private func content(
        of record: BackupRecord, _ manifest: Manifest, _ source: any ArchiveSource, _ key: OrgKey
    ) throws -> OpenBackup.Content {
        guard !record.seekTable.isEmpty else {
            return .foreign(
                try PayloadReader(
                    header: record.archiveHeader, archiveByteCount: record.archiveByteCount,
                    identities: key.identities))
        }
        let layout = try ArchiveReader.payloadLayout(
            header: record.archiveHeader, archiveByteCount: record.archiveByteCount)
        let table = try record.seekTable.withUnsafeBytes {
            try SeekTable(
                parsing: $0, streamByteCount: layout.plaintextByteCount,
                maximumDataFrameRawByteCount: ArchiveReader.maximumDataFrameByteCount)
        }
        let access = ArchiveAccess(
            header: record.archiveHeader, seekTable: table, archiveByteCount: record.archiveByteCount)
        let reader = try ArchiveReader(source: source, access: access, identities: key.identities)
        guard reader.rawByteCount == manifest.rawByteCount else {
            throw EngineError(
                .catalog, "\(record.identifier): the seek table and the manifest disagree about the size")
        }
        return .frames(reader)
    }

    /// Opens a registered backup to be read at random. A foreign archive gets a local copy, made first where there is none, which
    /// takes as long as reading all of it; `isGivenUp` is asked meanwhile, and ends the wait with `.cancelled`.
    package func openAtRandom(
        _ identifier: BackupIdentifier, unless isGivenUp: () -> Bool = { false }
    ) throws(EngineError) -> OpenBackup {
        let backup = try open(identifier)
        guard backup.isForeign else { return backup }
        guard let foreignCopies else {
            throw EngineError(.noRoom, "\(identifier) is a foreign archive: reading it at random needs a state folder")
        }
        return backup.reading(try foreignCopies.reader(of: backup, self, isGivenUp: isGivenUp))
    }

    /// Compares what lies at the backend with what is registered, by one small read: size, header and nonce. A swapped,
    /// replayed or cut archive is named as such.
    package func checkStoredHeader(of backup: OpenBackup) throws(EngineError) {
        let identifier = backup.identifier
        do {
            let facts = try backup.source.store.head(backup.source.key)
            let expected = backup.header
            var stored = [UInt8](repeating: 0, count: expected.count)
            if facts.byteCount >= UInt64(expected.count) {
                try stored.withUnsafeMutableBytes { try backup.source.read(at: 0, into: $0) }
                guard stored == expected else {
                    throw EngineError(
                        .swapped, "\(identifier): the object at the backend is another archive than the one registered")
                }
            }
            guard facts.byteCount == backup.source.byteCount else {
                throw EngineError(
                    .truncated,
                    "\(identifier): the archive has \(facts.byteCount) bytes, \(backup.source.byteCount) are registered"
                )
            }
        } catch {
            let failure = EngineError(error, subject: "\(identifier)")
            guard failure.code != .notFound else {
                throw EngineError(.notFound, "\(identifier): the archive is not at the backend", cause: error)
            }
            throw failure
        }
    }

    private var rebuildHint: String { "`holdfast catalog rebuild` makes the catalog anew from the backend" }
}
