package import BackupNames
internal import GRDB

/// One run of the agent: a backup or snapshot of a disk, under way or ended.
package struct BackupRunRecord: Sendable, Hashable {
    package enum Kind: String, Sendable { case backup, snapshot }

    /// Outcomes that are no code of an error.
    package static let good = "good"
    package static let running = "running"
    /// Its process ended without a word.
    package static let interrupted = "interrupted"

    /// nil before it is written.
    package var id: Int64?
    package let kind: Kind
    package let disk: DiskName
    /// The backend, or the pool.
    package let place: ResourceName
    /// Seconds since 1970.
    package let startedAt: Int64
    package var endedAt: Int64?
    /// It makes up for one that was missed.
    package let catchesUp: Bool
    /// `running`, `good`, `interrupted`, or the code of what went wrong.
    package var outcome: String
    package var detail: String
    /// Of the backup or snapshot that was made.
    package var date: BackupDate?
    package var rawByteCount: UInt64
    package var storedByteCount: UInt64
    package let ownerProcess: Int32
    package let ownerStartTicks: UInt64
    package let ownerBootIdentifier: String

    package var isGood: Bool { outcome == Self.good }
    package var isRunning: Bool { outcome == Self.running }

    package init(
        id: Int64? = nil, kind: Kind, disk: DiskName, place: ResourceName, startedAt: Int64, endedAt: Int64? = nil,
        catchesUp: Bool, outcome: String = running, detail: String = "", date: BackupDate? = nil,
        rawByteCount: UInt64 = 0, storedByteCount: UInt64 = 0, ownerProcess: Int32, ownerStartTicks: UInt64,
        ownerBootIdentifier: String
    ) {
        self.id = id
        self.kind = kind
        self.disk = disk
        self.place = place
        self.startedAt = startedAt
        self.endedAt = endedAt
        self.catchesUp = catchesUp
        self.outcome = outcome
        self.detail = detail
        self.date = date
        self.rawByteCount = rawByteCount
        self.storedByteCount = storedByteCount
        self.ownerProcess = ownerProcess
        self.ownerStartTicks = ownerStartTicks
        self.ownerBootIdentifier = ownerBootIdentifier
    }
}

extension Catalog {
    /// Writes down that a run begins. Only the newest thousand of a disk and kind are kept. Returns its number.
    package func beginRun(_ run: BackupRunRecord) throws(CatalogError) -> Int64 {
        try write { database in
            try database.execute(
                sql: """
                    INSERT INTO backup_run (kind, org, vm, disk, place, started_at, ended_at, catches_up, outcome, detail, date,
                    raw_size, stored_size, owner_process, owner_start_ticks, owner_boot)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    run.kind.rawValue, run.disk.org.description, run.disk.vm.description, run.disk.disk.description,
                    run.place.description, run.startedAt, run.endedAt, run.catchesUp, run.outcome, run.detail,
                    run.date?.description, Int64(clamping: run.rawByteCount), Int64(clamping: run.storedByteCount),
                    run.ownerProcess, Int64(clamping: run.ownerStartTicks), run.ownerBootIdentifier,
                ])
            let id = database.lastInsertedRowID
            try database.execute(
                sql: """
                    DELETE FROM backup_run WHERE id IN (
                    SELECT id FROM backup_run WHERE org = ? AND vm = ? AND disk = ? AND kind = ?
                    ORDER BY started_at DESC, id DESC LIMIT -1 OFFSET 1000)
                    """,
                arguments: [
                    run.disk.org.description, run.disk.vm.description, run.disk.disk.description, run.kind.rawValue,
                ])
            return id
        }
    }

    /// Writes down how a run went.
    package func endRun(_ run: BackupRunRecord) throws(CatalogError) {
        guard let id = run.id else { preconditionFailure("internal error: a run that was never begun ends") }
        try write { database in
            try database.execute(
                sql: """
                    UPDATE backup_run SET ended_at = ?, outcome = ?, detail = ?, date = ?, raw_size = ?, stored_size = ?
                    WHERE id = ?
                    """,
                arguments: [
                    run.endedAt, run.outcome, run.detail, run.date?.description, Int64(clamping: run.rawByteCount),
                    Int64(clamping: run.storedByteCount), id,
                ])
        }
    }

    /// The newest of one kind of a disk's runs first.
    package func backupRuns(
        of disk: DiskName, _ kind: BackupRunRecord.Kind, limit: Int
    ) throws(CatalogError) -> [BackupRunRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT * FROM backup_run WHERE org = ? AND vm = ? AND disk = ? AND kind = ?
                        ORDER BY started_at DESC, id DESC LIMIT ?
                        """),
                arguments: [
                    disk.org.description, disk.vm.description, disk.disk.description, kind.rawValue, limit,
                ]
            ).map(Self.backupRun)
        }
    }

    /// The newest first; those of one disk where it is named.
    package func backupRuns(of disk: DiskName? = nil, limit: Int = 10_000) throws(CatalogError) -> [BackupRunRecord] {
        try read { database in
            let rows: [Row]
            if let disk {
                rows = try Row.fetchAll(
                    database.cachedStatement(
                        sql: """
                            SELECT * FROM backup_run WHERE org = ? AND vm = ? AND disk = ?
                            ORDER BY started_at DESC, id DESC LIMIT ?
                            """),
                    arguments: [disk.org.description, disk.vm.description, disk.disk.description, limit])
            } else {
                rows = try Row.fetchAll(
                    database.cachedStatement(
                        sql: "SELECT * FROM backup_run ORDER BY started_at DESC, id DESC LIMIT ?"), arguments: [limit])
            }
            return try rows.map(Self.backupRun)
        }
    }

    /// Those that are under way, as far as the catalog knows.
    package func runningBackupRuns() throws(CatalogError) -> [BackupRunRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(sql: "SELECT * FROM backup_run WHERE outcome = ? ORDER BY id"),
                arguments: [BackupRunRecord.running]
            ).map(Self.backupRun)
        }
    }

    static func backupRun(_ row: Row) throws -> BackupRunRecord {
        guard let kind = BackupRunRecord.Kind(rawValue: try row.value("kind")) else {
            throw CatalogError(.corrupt, "the catalog holds a run of an unknown kind")
        }
        return BackupRunRecord(
            id: try row.value("id"), kind: kind,
            disk: DiskName(
                org: try name(row.value("org")), vm: try name(row.value("vm")), disk: try name(row.value("disk"))),
            place: try name(row.value("place")), startedAt: try row.value("started_at"),
            endedAt: try row.value("ended_at", as: Int64?.self), catchesUp: try row.value("catches_up"),
            outcome: try row.value("outcome"), detail: try row.value("detail"),
            date: try optionalText(row, "date").map(checked { try BackupDate($0) }),
            rawByteCount: try size(row.value("raw_size")), storedByteCount: try size(row.value("stored_size")),
            ownerProcess: try row.value("owner_process"), ownerStartTicks: try size(row.value("owner_start_ticks")),
            ownerBootIdentifier: try row.value("owner_boot"))
    }
}
