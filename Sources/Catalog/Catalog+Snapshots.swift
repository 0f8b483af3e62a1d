package import BackupNames
internal import GRDB

/// A snapshot: a full copy of a disk inside its pool. No backup: nothing that counts backups reads this table.
package struct SnapshotRecord: Sendable, Hashable {
    package static let hashByteCount = 32

    package let identifier: SnapshotIdentifier
    /// Its consistent point, seconds since 1970.
    package let createdAt: Int64
    /// The path of the disk's image when it was taken.
    package let origin: String
    /// How its consistent point was reached; "none" where the image was read as it was.
    package let consistency: String
    package let rawByteCount: UInt64
    /// What it took of the pool when it was taken.
    package let dataByteCount: UInt64
    package let rawSHA256: [UInt8]

    package init(
        identifier: SnapshotIdentifier, createdAt: Int64, origin: String, consistency: String, rawByteCount: UInt64,
        dataByteCount: UInt64, rawSHA256: [UInt8]
    ) {
        precondition(rawSHA256.count == Self.hashByteCount, "internal error: a hash of another length")
        self.identifier = identifier
        self.createdAt = createdAt
        self.origin = origin
        self.consistency = consistency
        self.rawByteCount = rawByteCount
        self.dataByteCount = dataByteCount
        self.rawSHA256 = rawSHA256
    }
}

extension Catalog {
    /// Registers a snapshot: from then on it exists. `.alreadyExists` where its name is taken.
    package func register(_ snapshot: SnapshotRecord) throws(CatalogError) {
        try write { database in
            do {
                try database.execute(
                    sql: """
                        INSERT INTO snapshot (pool, org, vm, date, disk, created_at, origin, consistency, raw_size, data_size,
                        raw_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                    arguments: Self.arguments(snapshot.identifier) + [
                        snapshot.createdAt, snapshot.origin, snapshot.consistency,
                        Int64(clamping: snapshot.rawByteCount), Int64(clamping: snapshot.dataByteCount),
                        Blob(snapshot.rawSHA256),
                    ])
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                throw CatalogError(
                    .alreadyExists, "the snapshot \(snapshot.identifier) is registered already", cause: error)
            }
        }
    }

    /// Removes a row. Absent is success.
    package func remove(_ identifier: SnapshotIdentifier) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "DELETE FROM snapshot WHERE pool = ? AND org = ? AND vm = ? AND date = ? AND disk = ?",
                arguments: Self.arguments(identifier))
        }
    }

    package func snapshot(_ identifier: SnapshotIdentifier) throws(CatalogError) -> SnapshotRecord? {
        try snapshots(
            "WHERE pool = ? AND org = ? AND vm = ? AND date = ? AND disk = ?", Self.arguments(identifier)
        ).first
    }

    /// All, oldest first; those of one disk where it is named.
    package func snapshots(of disk: DiskName? = nil) throws(CatalogError) -> [SnapshotRecord] {
        guard let disk else { return try snapshots("ORDER BY created_at, pool, org, vm, date, disk", []) }
        return try snapshots(
            "WHERE org = ? AND vm = ? AND disk = ? ORDER BY created_at, pool, date",
            [disk.org.description, disk.vm.description, disk.disk.description])
    }

    // MARK: Folders of the tree

    package func snapshotOrgs(pool: ResourceName) throws(CatalogError) -> [ResourceName] {
        try snapshotNames("org", "pool = ?", [pool.description]) { try Self.name($0) }
    }

    package func snapshotVMs(pool: ResourceName, org: ResourceName) throws(CatalogError) -> [ResourceName] {
        try snapshotNames("vm", "pool = ? AND org = ?", [pool.description, org.description]) { try Self.name($0) }
    }

    package func snapshotDates(
        pool: ResourceName, org: ResourceName, vm: ResourceName
    ) throws(CatalogError) -> [BackupDate] {
        try snapshotNames(
            "date", "pool = ? AND org = ? AND vm = ?", [pool.description, org.description, vm.description],
            Self.checked { try BackupDate($0) })
    }

    /// The snapshots of a vm's disks that bear one date, by disk.
    package func snapshots(
        pool: ResourceName, org: ResourceName, vm: ResourceName, date: BackupDate
    ) throws(CatalogError) -> [SnapshotRecord] {
        try snapshots(
            "WHERE pool = ? AND org = ? AND vm = ? AND date = ? ORDER BY disk",
            [pool.description, org.description, vm.description, date.description])
    }

    // MARK: Rows

    private func snapshotNames<Name>(
        _ column: String, _ condition: String, _ arguments: StatementArguments, _ parse: (String) throws -> Name
    ) throws(CatalogError) -> [Name] {
        try read { database in
            try String.fetchAll(
                database.cachedStatement(
                    sql: "SELECT DISTINCT \(column) FROM snapshot WHERE \(condition) ORDER BY \(column)"),
                arguments: arguments
            ).map(parse)
        }
    }

    private func snapshots(
        _ clause: String, _ arguments: StatementArguments
    ) throws(CatalogError) -> [SnapshotRecord] {
        try read { database in
            try Row.fetchAll(database.cachedStatement(sql: "SELECT * FROM snapshot \(clause)"), arguments: arguments)
                .map(Self.snapshot)
        }
    }

    private static func arguments(_ identifier: SnapshotIdentifier) -> StatementArguments {
        [
            identifier.pool.description, identifier.org.description, identifier.vm.description,
            identifier.date.description, identifier.disk.description,
        ]
    }

    private static func snapshot(_ row: Row) throws -> SnapshotRecord {
        let identifier = SnapshotIdentifier(
            pool: try name(row.value("pool")), org: try name(row.value("org")), vm: try name(row.value("vm")),
            date: try checked { try BackupDate($0) }(row.value("date")), disk: try name(row.value("disk")))
        guard let hash = Blob(row["raw_sha256"]), hash.bytes.count == SnapshotRecord.hashByteCount else {
            throw CatalogError(.corrupt, "the catalog's row of the snapshot \(identifier) is incomplete")
        }
        return SnapshotRecord(
            identifier: identifier, createdAt: try row.value("created_at"), origin: try row.value("origin"),
            consistency: try row.value("consistency"), rawByteCount: try size(row.value("raw_size")),
            dataByteCount: try size(row.value("data_size")), rawSHA256: hash.bytes)
    }
}
