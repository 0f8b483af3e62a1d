package import BackupNames
internal import GRDB

extension Catalog {
    /// How the consistent point of a backup was reached, as its manifest says; nil where there is no such backup. SQLite reads the one member,
    /// for whoever wants this of many disks.
    package func consistency(of identifier: BackupIdentifier) throws(CatalogError) -> String? {
        try read { database in
            try String.fetchOne(
                database.cachedStatement(
                    sql: """
                        SELECT json_extract(CAST(manifest AS TEXT), '$.consistency') FROM backup
                        JOIN backup_access ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                        """), arguments: Self.arguments(identifier))
        }
    }
}
