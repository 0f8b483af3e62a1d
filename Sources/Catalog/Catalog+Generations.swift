package import BackupNames
internal import GRDB

/// What became of a row that was to go over to a new generation of its backup's objects.
package enum RowMove: Sendable, Hashable {
    /// It is of the new generation; the journal's entry now names the objects of the old one, which are to go.
    case moved
    /// It is of another generation than it was, or gone: nothing was changed.
    case overtaken
}

extension Catalog {
    /// Brings a row from a generation to that of `record`, and lets the journal's entry, which named the new objects, name the
    /// old ones: one transaction, so that at any moment either the one or the other are the backup. Whoever found the new
    /// objects at the backend may have brought the row there already.
    ///
    /// What was known to be damaged goes: all of the new archive has been read.
    package func move(
        _ record: BackupRecord, from generation: UInt64, journal entry: Int64, oldArchiveKey: String,
        oldManifestKey: String
    ) throws(CatalogError) -> RowMove {
        try write { database in
            guard let row = try Self.row(of: record.identifier, database),
                row.generation == generation || row.generation == record.generation, !row.isRemoving
            else { return .overtaken }
            try Self.update(row.id, record, database)
            try database.execute(sql: "DELETE FROM damage WHERE backup_id = ?", arguments: [row.id])
            try database.execute(
                sql: """
                    UPDATE upload SET archive_key = ?, manifest_key = ?, upload_identifier = '', phase = ? WHERE id = ?
                    """, arguments: [oldArchiveKey, oldManifestKey, UploadRecord.Phase.remove.rawValue, entry])
            return .moved
        }
    }

    /// Removes a row of one generation. False, and nothing is changed, where there is one of another. Absent is success.
    package func remove(_ place: BackupPlace) throws(CatalogError) -> Bool {
        try write { database in
            guard let row = try Self.row(of: place.identifier, database) else { return true }
            guard row.generation == place.generation else { return false }
            try database.execute(sql: "DELETE FROM backup WHERE id = ?", arguments: [row.id])
            return true
        }
    }

    static func row(
        of identifier: BackupIdentifier, _ database: Database
    ) throws -> (id: Int64, generation: UInt64, isRemoving: Bool)? {
        let row = try Row.fetchOne(
            database.cachedStatement(
                sql: """
                    SELECT id, generation, removing_since IS NOT NULL AS is_removing FROM backup
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                    """), arguments: arguments(identifier))
        return try row.map {
            (
                id: try $0.value("id"), generation: try size($0.value("generation")),
                isRemoving: try $0.value("is_removing")
            )
        }
    }
}
