internal import AgeFormat
internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Storage

/// What a rebuild of the catalog found at one backend.
package struct RebuildResult: Sendable {
    package var registered: [BackupIdentifier] = []
    package var known: [BackupIdentifier] = []
    /// Sidecars and archives that could not be taken in, and why.
    package var refused: [(name: String, error: EngineError)] = []
}

extension Engine {
    /// Takes every backup of a backend into the catalog that is not there yet, from the sidecars and the org's key alone.
    /// Rows that are there and agree are left; rows that do not open (a damaged catalog) are made anew.
    ///
    /// A backup is taken in only when its sidecar is authentic and about its own name, and the archive beside it has the
    /// size and the header that the manifest pins. An archive without a sidecar is reported, not taken in.
    package func rebuildCatalog(from backend: Backend) throws(EngineError) -> RebuildResult {
        var result = RebuildResult()
        var archives: Set<String> = []
        var sidecars: Set<String> = []
        do {
            var after: String?
            repeat {
                let page = try backend.store.list(prefix: backend.prefixString, after: after, limit: 100_000)
                for object in page.objects {
                    let name = object.key.string
                    if let identifier = backend.identifier(ofManifestKey: object.key) {
                        sidecars.insert(try backend.archiveKey(of: identifier).string)
                        takeIn(identifier, object, from: backend, &result)
                    } else if name.hasSuffix(".raw.zst.age") {
                        archives.insert(name)
                    }
                }
                after = page.next
            } while after != nil
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
        for name in archives.subtracting(sidecars).sorted() {
            result.refused.append(
                (name, EngineError(.sidecarMissing, "\(name): the sidecar is missing; what it holds cannot be proven")))
        }
        return result
    }

    private func takeIn(
        _ identifier: BackupIdentifier, _ sidecar: ObjectFacts, from backend: Backend, _ result: inout RebuildResult
    ) {
        do {
            let isKnown = try catalog.backup(identifier) != nil
            if isKnown, (try? open(identifier)) != nil {
                result.known.append(identifier)
                return
            }
            // The new row is proven before the old one goes: on a host that cannot read, the old one stays.
            let record = try record(identifier, sidecar, from: backend)
            if isKnown {
                log.warning("\(identifier): the catalog's row does not open; it is made anew")
                try catalog.remove(identifier)
            }
            try catalog.register(record, finishing: nil)
            result.registered.append(identifier)
        } catch {
            result.refused.append((sidecar.key.string, EngineError(error, subject: sidecar.key.string)))
        }
    }

    private func record(
        _ identifier: BackupIdentifier, _ sidecar: ObjectFacts, from backend: Backend
    ) throws -> BackupRecord {
        let key = try readingKey(of: identifier.org)
        guard sidecar.byteCount <= UInt64(ManifestSidecar.maximumByteCount) else {
            throw EngineError(.notAuthentic, "the sidecar has \(sidecar.byteCount) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: Int(sidecar.byteCount))
        try bytes.withUnsafeMutableBytes { try backend.store.read(sidecar.key, at: 0, into: $0) }
        let json = try ManifestSidecar.decrypt(bytes, identities: key.identities)
        let manifest = try Manifest(verifying: json, sealKeys: key.sealKeys)
        // Whose and of when; the backend's name is this host's own affair.
        let named = manifest.identifier
        guard named.org == identifier.org, named.vm == identifier.vm, named.date == identifier.date,
            named.disk == identifier.disk
        else { throw EngineError(.swapped, "the sidecar is that of \(named)") }
        let archiveKey = try backend.archiveKey(of: identifier)
        let stored = try backend.store.head(archiveKey)
        guard stored.byteCount == manifest.archiveByteCount else {
            throw EngineError(
                .truncated, "the archive has \(stored.byteCount) bytes, its manifest names \(manifest.archiveByteCount)"
            )
        }
        let source = StoredObject(store: backend.store, key: archiveKey, byteCount: stored.byteCount)
        let header = try ArchiveReader.readHeader(of: source)
        guard SHA256Hasher.digest(of: header).isEqualInConstantTime(to: manifest.headerSHA256) else {
            throw EngineError(.swapped, "the archive is another one than the manifest names")
        }
        let reader = try ArchiveReader.open(source: source, identities: key.identities, header: header)
        let table = reader.seekTable.serialized()
        guard SHA256Hasher.digest(of: table).isEqualInConstantTime(to: manifest.seekTableSHA256) else {
            throw EngineError(.damaged, "the archive's seek table is not the one the manifest names")
        }
        return BackupRecord(
            identifier: identifier, manifestJSON: json, archiveHeader: header, seekTable: table,
            rawByteCount: manifest.rawByteCount, archiveByteCount: manifest.archiveByteCount,
            dataByteCount: reader.seekTable.dataByteCount, createdAt: manifest.createdAt)
    }
}
