internal import GRDB

/// The tables and their migrations. Catalog.md in this module's DocC catalog documents them: they are a promise.
enum CatalogSchema {
    /// A migration, once released, is never changed; a new one follows it.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("v1") { database in
            try database.execute(
                sql: """
                    CREATE TABLE backup (
                        id INTEGER PRIMARY KEY,
                        backend TEXT NOT NULL,
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        date TEXT NOT NULL,
                        disk TEXT NOT NULL,
                        created_at INTEGER NOT NULL,
                        raw_size INTEGER NOT NULL CHECK (raw_size >= 0),
                        data_size INTEGER NOT NULL CHECK (data_size >= 0),
                        archive_size INTEGER NOT NULL CHECK (archive_size >= 0),
                        UNIQUE (backend, org, vm, date, disk)
                    ) STRICT;
                    CREATE TABLE backup_access (
                        backup_id INTEGER PRIMARY KEY REFERENCES backup (id) ON DELETE CASCADE,
                        manifest BLOB NOT NULL,
                        header BLOB NOT NULL,
                        seek_table BLOB NOT NULL
                    ) STRICT;
                    CREATE TABLE staging_folder (
                        backend TEXT NOT NULL,
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        PRIMARY KEY (backend, org, vm)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE upload (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        backend TEXT NOT NULL,
                        archive_key TEXT NOT NULL,
                        manifest_key TEXT NOT NULL,
                        upload_identifier TEXT NOT NULL,
                        started_at INTEGER NOT NULL,
                        owner_process INTEGER NOT NULL,
                        owner_start_ticks INTEGER NOT NULL,
                        owner_boot TEXT NOT NULL
                    ) STRICT;
                    """)
        }
        return migrator
    }
}
