internal import BackupNames
internal import GRDB
internal import Glibc
internal import Synchronization

/// Making a catalog anew that is damaged: beside it, so that whoever uses the damaged one meanwhile finds it as it was, and the new
/// one never half full.
extension Catalog {
    /// A new, empty catalog that is to take the place of another. One that an earlier attempt left is removed.
    package static func replacement(for path: String) throws(CatalogError) -> Catalog {
        let new = path + ".new"
        for ending in ["", "-wal", "-shm"] where unlink(new + ending) != 0 && errno != ENOENT {
            throw CatalogError(.unusable, "\"\(new + ending)\" cannot be removed (error \(errno))")
        }
        return try Catalog(path: new)
    }

    /// Puts this catalog in the place of another; the other one stays under the name `kept`. Nothing may be asked of this one any
    /// more. Wherever it ends early, the path names either the one or the other. False where there was none any more.
    package func takePlace(of path: String, keeping kept: String) throws(CatalogError) -> Bool {
        do {
            try current.withLock { $0 }.close()
        } catch {
            throw Self.translate(error, self.path)
        }
        // The log of the other belongs to it, and must not meet the new file. Who opens the path between these lines finds the
        // damaged catalog without its last transactions.
        let isThere = link(path, kept) == 0
        if !isThere, errno != ENOENT { try Self.check(-1, path) }
        if rename(path + "-wal", kept + "-wal") != 0, errno != ENOENT { try Self.check(-1, path + "-wal") }
        unlink(path + "-shm")
        try Self.check(rename(self.path, path), path)
        CatalogFile.syncFolder(of: path)
        return isThere
    }

    private static func check(_ result: Int32, _ path: String) throws(CatalogError) {
        guard result != 0 else { return }
        throw CatalogError(.unusable, "\"\(path)\" cannot be set aside: \(String(cString: strerror(errno)))")
    }

    // MARK: What is left of a damaged one

    /// Numbers of rows that are tried. A number is used again only after the highest row went.
    private static let numberLimit: Int64 = 10_000_000

    /// Calls `body` with every backup whose row can be read, one by one, whatever is wrong with others. Returns how many could not.
    package func forEachReadableBackup(_ body: (BackupRecord) -> Void) -> Int {
        var unreadableCount = 0
        for number in stride(from: 1, through: min(highestNumber, Self.numberLimit), by: 1) {
            do throws(CatalogError) {
                if let record = try record(number) { body(record) }
            } catch {
                unreadableCount += 1
            }
        }
        return unreadableCount
    }

    /// By the table where it can be read, else by what hangs on it; 0 where neither says anything.
    private var highestNumber: Int64 {
        let queries = ["SELECT max(id) FROM backup", "SELECT max(backup_id) FROM backup_access"]
        return queries.compactMap { sql in try? read { try Int64.fetchOne($0, sql: sql) } }.max() ?? 0
    }

    private func record(_ number: Int64) throws(CatalogError) -> BackupRecord? {
        try read { database in
            try Row.fetchOne(
                database.cachedStatement(
                    sql: """
                        SELECT backup.*, manifest, header, seek_table FROM backup
                        LEFT JOIN backup_access ON backup_id = backup.id WHERE backup.id = ?
                        """), arguments: [number]
            ).map(Self.record)
        }
    }

    /// Takes over the journal and the folders of staging of another catalog. New entries of the journal get numbers that no entry
    /// had that is under way now, also where the other could not be read: those count up from 1, these from a time of day.
    package func takeOver(
        _ uploads: [UploadRecord], _ folders: [StagingFolder], secondsSince1970: Int64
    ) throws(CatalogError) {
        try write { database in
            for upload in uploads {
                try database.execute(
                    sql: """
                        INSERT INTO upload (id, backend, archive_key, manifest_key, upload_identifier, started_at,
                        owner_process, owner_start_ticks, owner_boot, phase) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                    arguments: [
                        upload.id, upload.backend.description, upload.archiveKey, upload.manifestKey,
                        upload.uploadIdentifier, upload.startedAt, upload.ownerProcess,
                        Int64(clamping: upload.ownerStartTicks), upload.ownerBootIdentifier, upload.phase.rawValue,
                    ])
            }
            for folder in folders {
                try database.execute(
                    sql: "INSERT OR IGNORE INTO staging_folder (backend, org, vm) VALUES (?, ?, ?)",
                    arguments: [folder.backend.description, folder.org.description, folder.vm?.description ?? ""])
            }
            let next = max(secondsSince1970, uploads.compactMap(\.id).max() ?? 0)
            try database.execute(
                sql:
                    "DELETE FROM sqlite_sequence WHERE name = 'upload'; INSERT INTO sqlite_sequence VALUES ('upload', ?)",
                arguments: [next])
        }
    }
}
