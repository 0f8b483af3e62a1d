package import BackupNames
internal import GRDB

/// A legal hold: the backup is not removed by retention, whatever the policy says.
package struct HoldRecord: Sendable, Hashable {
    package let identifier: BackupIdentifier
    /// Seconds since 1970.
    package let heldAt: Int64
    /// What whoever set it said; empty for a hold that another host has set.
    package let reason: String

    package init(identifier: BackupIdentifier, heldAt: Int64, reason: String) {
        self.identifier = identifier
        self.heldAt = heldAt
        self.reason = reason
    }
}

/// Holds are by name, not by row: a backup that is registered anew is still held.
extension Catalog {
    /// Sets a hold. False where the backup's removal has begun already. One that is there keeps its time and gets the reason, unless
    /// that is empty.
    package func addHold(_ hold: HoldRecord) throws(CatalogError) -> Bool {
        try write { database in
            let isGoing = try Bool.fetchOne(
                database,
                sql: """
                    SELECT EXISTS (SELECT 1 FROM backup WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                    AND removing_since IS NOT NULL)
                    """, arguments: Self.arguments(hold.identifier))
            guard isGoing != true else { return false }
            try database.execute(
                sql: """
                    INSERT INTO hold (backend, org, vm, date, disk, held_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT DO UPDATE SET reason = CASE excluded.reason WHEN '' THEN reason ELSE excluded.reason END
                    """, arguments: Self.arguments(hold.identifier) + [hold.heldAt, hold.reason])
            return true
        }
    }

    /// Absent is success.
    package func removeHold(_ identifier: BackupIdentifier) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "DELETE FROM hold WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?",
                arguments: Self.arguments(identifier))
        }
    }

    /// By name.
    package func holds() throws(CatalogError) -> [HoldRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(sql: "SELECT * FROM hold ORDER BY backend, org, vm, date, disk")
            ).map { row in
                HoldRecord(
                    identifier: BackupIdentifier(
                        backend: try Self.name(row.value("backend")), org: try Self.name(row.value("org")),
                        vm: try Self.name(row.value("vm")),
                        date: try Self.checked { try BackupDate($0) }(row.value("date")),
                        disk: try Self.name(row.value("disk"))),
                    heldAt: try row.value("held_at"), reason: try row.value("reason"))
            }
        }
    }
}
