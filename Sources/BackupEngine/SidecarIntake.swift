internal import AgeFormat
internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
package import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Storage

/// A manifest that was found at a backend: authentic, and about the backup that its place names.
package struct FoundManifest: Sendable {
    package let identifier: BackupIdentifier
    package let manifest: Manifest
    /// As sealed.
    let json: [UInt8]
}

/// What became of a sidecar that was looked at.
enum IntakeOutcome {
    case registered
    /// Its backup has a row that is as good.
    case known
    /// Its backup's row was about the objects of an earlier generation, and is about these now.
    case moved(from: BackupPlace)
    /// Its backup's row is about a later generation: these are left over.
    case superseded
    /// This host makes or removes the backup right now.
    case underWay
    /// It went while it was looked at.
    case gone
    case refused(EngineError)
}

/// How a backup that is found at a backend comes into the catalog, whoever looks for it: only when its sidecar is authentic
/// and about its own name, and the archive beside it has the size, the header and the seek table that the manifest pins.
extension Engine {
    /// Looks at one sidecar: some six requests for a backup that is new, one or none for others.
    func takeIn(_ sidecar: ListedSidecar, from backend: Backend) -> IntakeOutcome {
        let identifier = sidecar.identifier
        do {
            let row = try catalog.backup(identifier)
            var isBroken = false
            if let row {
                let isAuthentic = (try? authenticManifest(of: identifier)) != nil
                if isAuthentic, row.generation == sidecar.place.generation { return .known }
                // A row whose own objects are gone is as good as none.
                if isAuthentic, row.generation > sidecar.place.generation, try isThere(row.place, at: backend) {
                    return .superseded
                }
                isBroken = !isAuthentic || row.generation > sidecar.place.generation
            }
            // The new row is proven before the old one goes: on a host that cannot read, the old one stays.
            let found = try readSidecar(sidecar, at: backend)
            let record = try prove(found, at: backend)
            if isBroken { log.warning("\(identifier): the catalog's row does not open; it is made anew") }
            switch try catalog.takeIn(record, from: sidecar.facts.key.string, replacing: isBroken) {
            case .underWay: return .underWay
            case .exists: return .known
            case .replaced(let generation) where generation < record.generation:
                return .moved(from: BackupPlace(identifier, generation: generation))
            case .replaced: return .registered
            case .registered: break
            }
            // Somebody may have removed the backup between the proof and the row: the row would name nothing. Whoever
            // removes it from now on finds the row.
            guard isThere(sidecar.facts.key, at: backend) else {
                try catalog.remove(identifier)
                return .gone
            }
            return .registered
        } catch {
            return .refused(EngineError(error, subject: sidecar.facts.key.string))
        }
    }

    /// The manifest of a row that is authentic by itself: sealed by the org, about this name, and with the header and the seek
    /// table that it pins. Needs no key that reads, and no request.
    func authenticManifest(of identifier: BackupIdentifier) throws(EngineError) -> Manifest {
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            return try authenticManifest(of: record)
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// The same for a row in hand.
    func authenticManifest(of record: BackupRecord) throws(EngineError) -> Manifest {
        let identifier = record.identifier
        do {
            let manifest = try manifest(of: record).manifest
            guard SHA256Hasher.digest(of: record.archiveHeader).isEqualInConstantTime(to: manifest.headerSHA256),
                SHA256Hasher.digest(of: record.seekTable).isEqualInConstantTime(to: manifest.seekTableSHA256)
            else {
                throw EngineError(.catalog, "\(identifier): the catalog's row is not what its manifest names")
            }
            return manifest
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// Fetches, decrypts and verifies a sidecar: one small read.
    func readSidecar(_ sidecar: ListedSidecar, at backend: Backend) throws -> FoundManifest {
        let key = try readingKey(of: sidecar.identifier.org)
        guard sidecar.facts.byteCount <= UInt64(ManifestSidecar.maximumByteCount) else {
            throw EngineError(
                .notAuthentic, "\(sidecar.facts.key): the sidecar has \(sidecar.facts.byteCount) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: Int(sidecar.facts.byteCount))
        try bytes.withUnsafeMutableBytes { try backend.store.read(sidecar.facts.key, at: 0, into: $0) }
        let json = try decrypted(bytes, key)
        return try foundManifest(json, of: sidecar.place, key)
    }

    /// What does not decrypt was not made for this org, or is damaged.
    private func decrypted(_ sidecar: [UInt8], _ key: OrgKey) throws(EngineError) -> [UInt8] {
        do {
            return try ManifestSidecar.decrypt(sidecar, identities: key.identities)
        } catch {
            throw EngineError(
                error.code == .noMatch ? .wrongKey : .notAuthentic, "the sidecar does not open: \(error)", cause: error)
        }
    }

    /// Verifies a sealed manifest that was found somewhere under the name of a backup.
    func foundManifest(_ json: [UInt8], of place: BackupPlace, _ key: OrgKey) throws -> FoundManifest {
        let identifier = place.identifier
        var manifest = try Manifest(verifying: json, sealKeys: key.sealKeys)
        // Whose and of when; the backend's name is this host's own affair.
        let named = manifest.identifier
        guard named.org == identifier.org, named.vm == identifier.vm, named.date == identifier.date,
            named.disk == identifier.disk
        else { throw EngineError(.swapped, "\(identifier): the manifest is that of \(named)") }
        // One that was put under a higher number would count for more than its successor.
        guard manifest.generation == place.generation else {
            throw EngineError(.swapped, "\(place): the manifest is that of generation \(manifest.generation)")
        }
        manifest.identifier = identifier
        return FoundManifest(identifier: identifier, manifest: manifest, json: json)
    }

    /// Proves that the archive at the backend is the one of a manifest, by its size, its header and its end: three small
    /// requests, two where the header is in hand.
    func prove(
        _ found: FoundManifest, header known: [UInt8]? = nil, at backend: Backend
    ) throws -> BackupRecord {
        let manifest = found.manifest
        let key = try readingKey(of: found.identifier.org)
        let (place, stored) = try findArchive(of: found, at: backend)
        let archiveKey = try backend.archiveKey(of: place)
        guard stored.byteCount == manifest.archiveByteCount else {
            throw EngineError(
                .truncated, "the archive has \(stored.byteCount) bytes, its manifest names \(manifest.archiveByteCount)"
            )
        }
        let source = StoredObject(store: backend.store, key: archiveKey, byteCount: stored.byteCount)
        let header = if let known { known } else { try ArchiveReader.readHeader(of: source) }
        guard SHA256Hasher.digest(of: header).isEqualInConstantTime(to: manifest.headerSHA256) else {
            throw EngineError(.swapped, "the archive is another one than the manifest names")
        }
        let (table, dataByteCount) = try seekTable(of: source, manifest, header, key)
        return BackupRecord(
            identifier: found.identifier, manifestJSON: found.json, archiveHeader: header, seekTable: table,
            rawByteCount: manifest.rawByteCount, archiveByteCount: manifest.archiveByteCount,
            dataByteCount: dataByteCount, createdAt: manifest.createdAt, generation: manifest.generation,
            archiveObject: place.archiveObject, lockedUntil: try readLock(of: archiveKey, at: backend))
    }

    /// An imported archive lies where the manifest says; a replica of it, as any other, where the backup's name says.
    private func findArchive(
        of found: FoundManifest, at backend: Backend
    ) throws -> (place: BackupPlace, stored: ObjectFacts) {
        let plain = BackupPlace(found.identifier, generation: found.manifest.generation)
        if let object = found.manifest.archiveObject {
            let imported = BackupPlace(
                found.identifier, generation: found.manifest.generation, archiveObject: object)
            if let stored = try facts(of: backend.archiveKey(of: imported), at: backend) { return (imported, stored) }
        }
        return (plain, try backend.store.head(backend.archiveKey(of: plain)))
    }

    /// The seek table as it is stored, and the raw bytes outside holes. A foreign archive has none; its last chunk is proven by
    /// the pass that reads it.
    private func seekTable(
        of source: StoredObject, _ manifest: Manifest, _ header: [UInt8], _ key: OrgKey
    ) throws -> ([UInt8], dataByteCount: UInt64) {
        guard !manifest.isForeign else {
            _ = try PayloadReader(
                header: header, archiveByteCount: source.byteCount, identities: key.identities)
            return ([], manifest.dataByteCount ?? manifest.rawByteCount)
        }
        let reader = try ArchiveReader.open(source: source, identities: key.identities, header: header)
        let table = reader.seekTable.serialized()
        guard SHA256Hasher.digest(of: table).isEqualInConstantTime(to: manifest.seekTableSHA256) else {
            throw EngineError(.damaged, "the archive's seek table is not the one the manifest names")
        }
        return (table, reader.seekTable.dataByteCount)
    }

    /// Whether the sidecar and the archive of a row are at the backend.
    private func isThere(_ place: BackupPlace, at backend: Backend) throws -> Bool {
        try facts(of: backend.manifestKey(of: place), at: backend) != nil
            && facts(of: backend.archiveKey(of: place), at: backend) != nil
    }

    /// False only where the backend says so.
    private func isThere(_ key: ObjectKey, at backend: Backend) -> Bool {
        do throws(StorageError) {
            _ = try backend.store.head(key)
            return true
        } catch {
            return error.code != .absent
        }
    }
}
