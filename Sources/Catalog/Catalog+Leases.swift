internal import GRDB

/// Who may do something alone, among the processes that share this catalog.
package struct LeaseRecord: Sendable, Hashable {
    package let name: String
    /// Seconds since 1970; from then on anybody may have it.
    package let expiresAt: Int64
    package let ownerProcess: Int32
    package let ownerStartTicks: UInt64
    package let ownerBootIdentifier: String

    package init(
        name: String, expiresAt: Int64, ownerProcess: Int32, ownerStartTicks: UInt64, ownerBootIdentifier: String
    ) {
        self.name = name
        self.expiresAt = expiresAt
        self.ownerProcess = ownerProcess
        self.ownerStartTicks = ownerStartTicks
        self.ownerBootIdentifier = ownerBootIdentifier
    }
}

extension Catalog {
    /// Takes a lease, or renews one of the same owner. nil: it has it now; else who has it. `isAlive` tells whether an owner still
    /// lives: the lease of one that does not is anybody's, at once.
    package func takeLease(
        _ lease: LeaseRecord, now: Int64, isAlive: @escaping @Sendable (LeaseRecord) -> Bool
    ) throws(CatalogError) -> LeaseRecord? {
        try write { database in
            let row = try Row.fetchOne(
                database.cachedStatement(sql: "SELECT * FROM lease WHERE name = ?"), arguments: [lease.name])
            if let held = try row.map(Self.lease), held.owner != lease.owner, held.expiresAt > now, isAlive(held) {
                return held
            }
            try database.execute(
                sql: """
                    INSERT OR REPLACE INTO lease (name, expires_at, owner_process, owner_start_ticks, owner_boot)
                    VALUES (?, ?, ?, ?, ?)
                    """,
                arguments: [
                    lease.name, lease.expiresAt, lease.ownerProcess, Int64(clamping: lease.ownerStartTicks),
                    lease.ownerBootIdentifier,
                ])
            return nil
        }
    }

    /// Gives a lease back. One that somebody else has by now is left to him.
    package func endLease(_ lease: LeaseRecord) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    DELETE FROM lease WHERE name = ? AND owner_process = ? AND owner_start_ticks = ? AND owner_boot = ?
                    """,
                arguments: [
                    lease.name, lease.ownerProcess, Int64(clamping: lease.ownerStartTicks), lease.ownerBootIdentifier,
                ])
        }
    }

    /// By name.
    package func leases() throws(CatalogError) -> [LeaseRecord] {
        try read { database in
            try Row.fetchAll(database.cachedStatement(sql: "SELECT * FROM lease ORDER BY name")).map(Self.lease)
        }
    }

    private static func lease(_ row: Row) throws -> LeaseRecord {
        LeaseRecord(
            name: try row.value("name"), expiresAt: try row.value("expires_at"),
            ownerProcess: try row.value("owner_process"), ownerStartTicks: try size(row.value("owner_start_ticks")),
            ownerBootIdentifier: try row.value("owner_boot"))
    }
}

extension LeaseRecord {
    fileprivate var owner: [String] { ["\(ownerProcess)", "\(ownerStartTicks)", ownerBootIdentifier] }
}
