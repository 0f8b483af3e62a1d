package import BackupNames
internal import GRDB

/// What the snapshots of a vm take up in a pool: in-cluster copies, not backups.
package struct SnapshotUsage: Sendable, Hashable {
    package let pool: ResourceName
    package let org: ResourceName
    package let vm: ResourceName
    package let count: Int
    package let rawByteCount: UInt64
    /// Without holes.
    package let storedByteCount: UInt64

    package init(
        pool: ResourceName, org: ResourceName, vm: ResourceName, count: Int, rawByteCount: UInt64,
        storedByteCount: UInt64
    ) {
        self.pool = pool
        self.org = org
        self.vm = vm
        self.count = count
        self.rawByteCount = rawByteCount
        self.storedByteCount = storedByteCount
    }
}

extension Catalog {
    /// By pool, org and vm.
    package func snapshotUsage() throws(CatalogError) -> [SnapshotUsage] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT pool, org, vm, count(*) AS count, sum(raw_size) AS raw_size, sum(data_size) AS data_size
                        FROM snapshot GROUP BY pool, org, vm ORDER BY pool, org, vm
                        """)
            ).map { row in
                SnapshotUsage(
                    pool: try Self.name(row.value("pool")), org: try Self.name(row.value("org")),
                    vm: try Self.name(row.value("vm")), count: try row.value("count"),
                    rawByteCount: try Self.size(row.value("raw_size")),
                    storedByteCount: try Self.size(row.value("data_size")))
            }
        }
    }
}
