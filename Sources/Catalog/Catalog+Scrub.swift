package import BackupNames
internal import GRDB

/// What scrubs remember.
extension Catalog {
    /// Adds to what was fetched on a day (days since 1970, UTC). Only the last month is kept.
    package func noteScrubbed(day: Int64, byteCount: UInt64) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    INSERT INTO scrub_day (day, fetched_size) VALUES (?, ?)
                    ON CONFLICT (day) DO UPDATE SET fetched_size = fetched_size + excluded.fetched_size
                    """, arguments: [day, Int64(clamping: byteCount)])
            try database.execute(sql: "DELETE FROM scrub_day WHERE day < ?", arguments: [day - 31])
        }
    }

    /// What was fetched, by day.
    package func scrubbed(since day: Int64) throws(CatalogError) -> [Int64: UInt64] {
        try read { database in
            let rows = try Row.fetchAll(
                database, sql: "SELECT day, fetched_size FROM scrub_day WHERE day >= ?", arguments: [day])
            return Dictionary(
                uniqueKeysWithValues: try rows.map {
                    (try $0.value("day", as: Int64.self), try Self.size($0.value("fetched_size")))
                })
        }
    }

    /// A frame of a backup was looked at, and was good.
    package func noteSample(_ identifier: BackupIdentifier, at time: Int64) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    INSERT INTO scrub (backup_id, sampled_at, sampled_frames)
                    SELECT id, ?, 1 FROM backup WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                    ON CONFLICT (backup_id) DO UPDATE
                    SET sampled_at = excluded.sampled_at, sampled_frames = sampled_frames + 1
                    """, arguments: [time] + Self.arguments(identifier))
        }
    }

    /// How many frames of a backup were sampled, and when last; nil for none.
    package func samples(_ identifier: BackupIdentifier) throws(CatalogError) -> (frames: Int, last: Int64)? {
        try read { database in
            let row = try Row.fetchOne(
                database.cachedStatement(
                    sql: """
                        SELECT scrub.* FROM scrub JOIN backup ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                        """), arguments: Self.arguments(identifier))
            return try row.map { (try $0.value("sampled_frames"), try $0.value("sampled_at")) }
        }
    }
}
