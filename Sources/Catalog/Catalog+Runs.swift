package import BackupNames
internal import GRDB

/// One restore or drill that came to an end, well or not: what RTO is told from.
package struct RunRecord: Sendable, Hashable {
    package enum Kind: String, Sendable { case restore, drill }

    package static let good = "good"

    package let kind: Kind
    package let identifier: BackupIdentifier
    /// Seconds since 1970.
    package let startedAt: Int64
    /// `good`, or the code of what went wrong.
    package let outcome: String
    package let detail: String
    package let rawByteCount: UInt64
    /// Archive bytes that came from the backend.
    package let fetchedByteCount: UInt64
    package let totalMilliseconds: Int64
    /// How long each phase was busy. Phases run side by side, so they add up to more than the total.
    package let openMilliseconds: Int64
    package let fetchMilliseconds: Int64
    package let decodeMilliseconds: Int64
    package let writeMilliseconds: Int64
    /// What a drill checked beyond the hash: JSON, an empty object for nothing.
    package let checksJSON: String

    package var isGood: Bool { outcome == Self.good }

    package init(
        kind: Kind, identifier: BackupIdentifier, startedAt: Int64, outcome: String, detail: String,
        rawByteCount: UInt64, fetchedByteCount: UInt64, totalMilliseconds: Int64, openMilliseconds: Int64 = 0,
        fetchMilliseconds: Int64 = 0, decodeMilliseconds: Int64 = 0, writeMilliseconds: Int64 = 0,
        checksJSON: String = "{}"
    ) {
        self.kind = kind
        self.identifier = identifier
        self.startedAt = startedAt
        self.outcome = outcome
        self.detail = detail
        self.rawByteCount = rawByteCount
        self.fetchedByteCount = fetchedByteCount
        self.totalMilliseconds = totalMilliseconds
        self.openMilliseconds = openMilliseconds
        self.fetchMilliseconds = fetchMilliseconds
        self.decodeMilliseconds = decodeMilliseconds
        self.writeMilliseconds = writeMilliseconds
        self.checksJSON = checksJSON
    }
}

extension Catalog {
    /// Adds a run; only the newest thousand of a disk and kind are kept.
    package func addRun(_ run: RunRecord) throws(CatalogError) {
        try write { try Self.insert(run, $0) }
    }

    static func insert(_ run: RunRecord, _ database: Database) throws {
        let identifier = run.identifier
        try database.execute(
            sql: """
                INSERT INTO run (kind, backend, org, vm, date, disk, started_at, outcome, detail, raw_size, fetched_size,
                total_ms, open_ms, fetch_ms, decode_ms, write_ms, checks)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [run.kind.rawValue] + Self.arguments(identifier) + [
                run.startedAt, run.outcome, run.detail, Int64(clamping: run.rawByteCount),
                Int64(clamping: run.fetchedByteCount), run.totalMilliseconds, run.openMilliseconds,
                run.fetchMilliseconds, run.decodeMilliseconds, run.writeMilliseconds, run.checksJSON,
            ])
        let disk: StatementArguments = [
            identifier.org.description, identifier.vm.description, identifier.disk.description, run.kind.rawValue,
        ]
        try database.execute(
            sql: """
                DELETE FROM run WHERE id IN (
                SELECT id FROM run WHERE org = ? AND vm = ? AND disk = ? AND kind = ?
                ORDER BY started_at DESC, id DESC LIMIT -1 OFFSET 1000)
                """, arguments: disk)
    }

    /// The runs, the newest first; those of one disk where it is named.
    package func runs(of disk: DiskName? = nil, limit: Int = 10_000) throws(CatalogError) -> [RunRecord] {
        try read { database in
            let rows: [Row]
            if let disk {
                rows = try Row.fetchAll(
                    database,
                    sql:
                        "SELECT * FROM run WHERE org = ? AND vm = ? AND disk = ? ORDER BY started_at DESC, id DESC LIMIT ?",
                    arguments: [disk.org.description, disk.vm.description, disk.disk.description, limit])
            } else {
                rows = try Row.fetchAll(
                    database, sql: "SELECT * FROM run ORDER BY started_at DESC, id DESC LIMIT ?", arguments: [limit])
            }
            return try rows.map(Self.run)
        }
    }

    static func run(_ row: Row) throws -> RunRecord {
        guard let kind = RunRecord.Kind(rawValue: try row.value("kind")) else {
            throw CatalogError(.corrupt, "the catalog holds a run of an unknown kind")
        }
        let identifier = BackupIdentifier(
            backend: try name(row.value("backend")), org: try name(row.value("org")), vm: try name(row.value("vm")),
            date: try checked { try BackupDate($0) }(row.value("date")), disk: try name(row.value("disk")))
        return RunRecord(
            kind: kind, identifier: identifier, startedAt: try row.value("started_at"),
            outcome: try row.value("outcome"), detail: try row.value("detail"),
            rawByteCount: try size(row.value("raw_size")), fetchedByteCount: try size(row.value("fetched_size")),
            totalMilliseconds: try row.value("total_ms"), openMilliseconds: try row.value("open_ms"),
            fetchMilliseconds: try row.value("fetch_ms"), decodeMilliseconds: try row.value("decode_ms"),
            writeMilliseconds: try row.value("write_ms"), checksJSON: try row.value("checks"))
    }
}
