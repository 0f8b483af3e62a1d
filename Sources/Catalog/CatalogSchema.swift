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
        migrator.registerMigration("v2") { database in
            try database.execute(
                sql: """
                    ALTER TABLE backup ADD COLUMN generation INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0);
                    ALTER TABLE backup ADD COLUMN archive_object TEXT;
                    ALTER TABLE upload ADD COLUMN phase TEXT NOT NULL DEFAULT 'complete' CHECK (phase IN ('upload', 'complete', 'remove'));
                    CREATE TABLE backup_check (
                        backup_id INTEGER NOT NULL REFERENCES backup (id) ON DELETE CASCADE,
                        depth TEXT NOT NULL CHECK (depth IN ('presence', 'archive', 'raw')),
                        checked_at INTEGER NOT NULL,
                        good_at INTEGER,
                        outcome TEXT NOT NULL,
                        detail TEXT NOT NULL,
                        PRIMARY KEY (backup_id, depth)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE damage (
                        backup_id INTEGER NOT NULL REFERENCES backup (id) ON DELETE CASCADE,
                        archive_offset INTEGER NOT NULL CHECK (archive_offset >= 0),
                        archive_size INTEGER NOT NULL CHECK (archive_size >= 0),
                        frame INTEGER,
                        raw_offset INTEGER NOT NULL CHECK (raw_offset >= 0),
                        raw_size INTEGER NOT NULL CHECK (raw_size >= 0),
                        found_at INTEGER NOT NULL,
                        detail TEXT NOT NULL,
                        PRIMARY KEY (backup_id, archive_offset, raw_offset)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE scrub (
                        backup_id INTEGER PRIMARY KEY REFERENCES backup (id) ON DELETE CASCADE,
                        sampled_at INTEGER NOT NULL,
                        sampled_frames INTEGER NOT NULL CHECK (sampled_frames >= 0)
                    ) STRICT;
                    CREATE TABLE scrub_day (
                        day INTEGER PRIMARY KEY,
                        fetched_size INTEGER NOT NULL CHECK (fetched_size >= 0)
                    ) STRICT;
                    CREATE TABLE run (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        kind TEXT NOT NULL CHECK (kind IN ('restore', 'drill')),
                        backend TEXT NOT NULL,
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        date TEXT NOT NULL,
                        disk TEXT NOT NULL,
                        started_at INTEGER NOT NULL,
                        outcome TEXT NOT NULL,
                        detail TEXT NOT NULL,
                        raw_size INTEGER NOT NULL CHECK (raw_size >= 0),
                        fetched_size INTEGER NOT NULL CHECK (fetched_size >= 0),
                        total_ms INTEGER NOT NULL CHECK (total_ms >= 0),
                        open_ms INTEGER NOT NULL CHECK (open_ms >= 0),
                        fetch_ms INTEGER NOT NULL CHECK (fetch_ms >= 0),
                        decode_ms INTEGER NOT NULL CHECK (decode_ms >= 0),
                        write_ms INTEGER NOT NULL CHECK (write_ms >= 0),
                        checks TEXT NOT NULL
                    ) STRICT;
                    CREATE INDEX run_of_disk ON run (org, vm, disk, kind, started_at);
                    CREATE TABLE refused_sidecar (
                        backend TEXT NOT NULL,
                        manifest_key TEXT NOT NULL,
                        version TEXT NOT NULL,
                        refused_at INTEGER NOT NULL,
                        detail TEXT NOT NULL,
                        PRIMARY KEY (backend, manifest_key)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE catalog_copy (
                        backend TEXT NOT NULL,
                        org TEXT NOT NULL,
                        content_sha256 BLOB NOT NULL,
                        copied_at INTEGER NOT NULL,
                        PRIMARY KEY (backend, org)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE catalog_origin (
                        identifier TEXT NOT NULL
                    ) STRICT;
                    INSERT INTO catalog_origin VALUES (lower(hex(randomblob(8))));
                    """)
        }
        registerThird(&migrator)
        return migrator
    }

    private static func registerThird(_ migrator: inout DatabaseMigrator) {
        migrator.registerMigration("v3") { database in
            try database.execute(
                sql: """
                    ALTER TABLE backup ADD COLUMN removing_since INTEGER;
                    ALTER TABLE backup ADD COLUMN locked_until INTEGER;
                    CREATE TABLE hold (
                        backend TEXT NOT NULL,
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        date TEXT NOT NULL,
                        disk TEXT NOT NULL,
                        held_at INTEGER NOT NULL,
                        reason TEXT NOT NULL,
                        PRIMARY KEY (backend, org, vm, date, disk)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE backup_run (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        kind TEXT NOT NULL CHECK (kind IN ('backup', 'snapshot')),
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        disk TEXT NOT NULL,
                        place TEXT NOT NULL,
                        started_at INTEGER NOT NULL,
                        ended_at INTEGER,
                        catches_up INTEGER NOT NULL CHECK (catches_up IN (0, 1)),
                        outcome TEXT NOT NULL,
                        detail TEXT NOT NULL,
                        date TEXT,
                        raw_size INTEGER NOT NULL CHECK (raw_size >= 0),
                        stored_size INTEGER NOT NULL CHECK (stored_size >= 0),
                        owner_process INTEGER NOT NULL,
                        owner_start_ticks INTEGER NOT NULL,
                        owner_boot TEXT NOT NULL
                    ) STRICT;
                    CREATE INDEX backup_run_of_disk ON backup_run (org, vm, disk, kind, started_at);
                    CREATE TABLE lease (
                        name TEXT PRIMARY KEY,
                        expires_at INTEGER NOT NULL,
                        owner_process INTEGER NOT NULL,
                        owner_start_ticks INTEGER NOT NULL,
                        owner_boot TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE snapshot (
                        pool TEXT NOT NULL,
                        org TEXT NOT NULL,
                        vm TEXT NOT NULL,
                        date TEXT NOT NULL,
                        disk TEXT NOT NULL,
                        created_at INTEGER NOT NULL,
                        origin TEXT NOT NULL,
                        consistency TEXT NOT NULL,
                        raw_size INTEGER NOT NULL CHECK (raw_size >= 0),
                        data_size INTEGER NOT NULL CHECK (data_size >= 0),
                        raw_sha256 BLOB NOT NULL CHECK (length(raw_sha256) = 32),
                        PRIMARY KEY (pool, org, vm, date, disk)
                    ) STRICT, WITHOUT ROWID;
                    CREATE TABLE backend_test (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        backend TEXT NOT NULL,
                        tested_at INTEGER NOT NULL,
                        outcome TEXT NOT NULL,
                        detail TEXT NOT NULL,
                        latency_us INTEGER NOT NULL CHECK (latency_us >= 0),
                        up_bytes_per_second INTEGER NOT NULL CHECK (up_bytes_per_second >= 0),
                        down_bytes_per_second INTEGER NOT NULL CHECK (down_bytes_per_second >= 0)
                    ) STRICT;
                    """)
        }
    }
}
