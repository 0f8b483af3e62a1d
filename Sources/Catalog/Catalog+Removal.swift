package import BackupNames
internal import GRDB

/// A backup whose removal has begun.
package struct RemovingBackup: Sendable, Hashable {
    package let summary: BackupSummary
    /// Seconds since 1970.
    package let since: Int64
}

/// Removal in an order that a crash may end anywhere: mark, archive, sidecar, row. From the mark on nobody but the removal sees the
/// backup, and a look at the backend does not bring it back, for the row is still there.
extension Catalog {
    /// Marks a backup, unless it is held or of another generation: one transaction, so that a hold that comes first wins. False, and
    /// nothing is changed, where it may not be removed or is not there.
    package func beginRemoval(_ place: BackupPlace, at now: Int64) throws(CatalogError) -> Bool {
        try write { database in
            try database.execute(
                sql: """
                    UPDATE backup SET removing_since = ?
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ? AND generation = ?
                    AND removing_since IS NULL AND NOT EXISTS (
                    SELECT 1 FROM hold WHERE (hold.backend, hold.org, hold.vm, hold.date, hold.disk) =
                    (backup.backend, backup.org, backup.vm, backup.date, backup.disk))
                    """,
                arguments: [now] + Self.arguments(place.identifier) + [Int64(clamping: place.generation)])
            return database.changesCount == 1
        }
    }

    /// Takes a mark back: the backup is whole, for its store has refused to remove the archive.
    package func cancelRemoval(_ place: BackupPlace, lockedUntil: Int64?) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    UPDATE backup SET removing_since = NULL, locked_until = coalesce(?, locked_until)
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ? AND generation = ?
                    """,
                arguments: [lockedUntil] + Self.arguments(place.identifier) + [Int64(clamping: place.generation)])
        }
    }

    /// Backups that are marked, the oldest mark first.
    package func removingBackups() throws(CatalogError) -> [RemovingBackup] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: "SELECT * FROM backup WHERE removing_since IS NOT NULL ORDER BY removing_since, id")
            ).map { RemovingBackup(summary: try Self.summary($0), since: try $0.value("removing_since")) }
        }
    }

    /// Writes down until when a store keeps an archive; nil: it does not.
    package func setLockedUntil(_ identifier: BackupIdentifier, _ time: Int64?) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    UPDATE backup SET locked_until = ?
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                    """, arguments: [time] + Self.arguments(identifier))
        }
    }
}
