package import BackupNames
internal import GRDB

extension Catalog {
    /// The backup whose archive is the object of this key (below the backend's prefix); nil where it is nobody's.
    package func backup(withArchive key: String, at backend: ResourceName) throws(CatalogError) -> BackupIdentifier? {
        let imported = try summaries(
            "WHERE backend = ? AND archive_object = ? LIMIT 1", [backend.description, key]
        ).first
        if let imported { return imported.identifier }
        guard key.hasSuffix(BackupIdentifier.archiveEnding) else { return nil }
        let manifestKey = key.dropLast(BackupIdentifier.archiveEnding.count) + BackupIdentifier.manifestEnding
        guard let place = BackupPlace(backend: backend, manifestKey: String(manifestKey)),
            let known = try self.backup(place.identifier), known.place.archiveKey == key
        else { return nil }
        return known.identifier
    }
}
