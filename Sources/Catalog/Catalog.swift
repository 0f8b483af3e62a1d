package import BackupNames
internal import GRDB
internal import Synchronization

/// holdfast's own metadata, kept apart from the archives: SQLite in WAL mode, synced fully at each commit.
///
/// Several processes may use one catalog at a time. Any thread may call anything; calls block for the disk, and for at most
/// ten seconds for another process's transaction. What a row holds is checked as it is read; one that cannot be right is
/// `.corrupt`, never skipped.
///
/// A file that goes or is replaced while it is open is noticed by the next call (`Catalog+Following.swift`).
package final class Catalog: Sendable {
    package let path: String
    let current: Mutex<CatalogConnections>
    /// Held by whoever opens another file.
    let following = Mutex(())
    /// Is told what happens to the file.
    let notice: @Sendable (String) -> Void

    /// Opens a catalog, making or migrating it as needed. The file is readable by its owner only.
    package init(path: String, notice: @escaping @Sendable (String) -> Void = { _ in }) throws(CatalogError) {
        self.path = path
        self.notice = notice
        do {
            current = Mutex(try CatalogConnections(path: path, number: 0))
        } catch {
            throw Self.translate(error, path)
        }
    }

    // MARK: Backups

    /// Registers a backup and removes its journal entry, in one transaction: from then on it exists.
    package func register(_ record: BackupRecord, finishing upload: Int64?) throws(CatalogError) {
        try write { database in
            do {
                try Self.insert(record, database)
            } catch let error as DatabaseError where error.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE {
                throw CatalogError(
                    .alreadyExists, "the backup \(record.identifier) is registered already", cause: error)
            }
            if let upload { try database.execute(sql: "DELETE FROM upload WHERE id = ?", arguments: [upload]) }
        }
    }

    static func insert(_ record: BackupRecord, _ database: Database) throws {
        let identifier = record.identifier
        try database.execute(
            sql: """
                INSERT INTO backup (backend, org, vm, date, disk, created_at, raw_size, data_size, archive_size, generation,
                archive_object, locked_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                identifier.backend.description, identifier.org.description, identifier.vm.description,
                identifier.date.description, identifier.disk.description, record.createdAt,
                Int64(clamping: record.rawByteCount), Int64(clamping: record.dataByteCount),
                Int64(clamping: record.archiveByteCount), Int64(clamping: record.generation), record.archiveObject,
                record.lockedUntil,
            ])
        try setAccess(database.lastInsertedRowID, record, database)
    }

    /// Makes a row anew, its names and what hangs on it apart.
    static func update(_ id: Int64, _ record: BackupRecord, _ database: Database) throws {
        try database.execute(
            sql: """
                UPDATE backup SET created_at = ?, raw_size = ?, data_size = ?, archive_size = ?, generation = ?,
                archive_object = ?, locked_until = ? WHERE id = ?
                """,
            arguments: [
                record.createdAt, Int64(clamping: record.rawByteCount), Int64(clamping: record.dataByteCount),
                Int64(clamping: record.archiveByteCount), Int64(clamping: record.generation), record.archiveObject,
                record.lockedUntil, id,
            ])
        try setAccess(id, record, database)
    }

    private static func setAccess(_ id: Int64, _ record: BackupRecord, _ database: Database) throws {
        try database.execute(
            sql: "INSERT OR REPLACE INTO backup_access (backup_id, manifest, header, seek_table) VALUES (?, ?, ?, ?)",
            arguments: [id, Blob(record.manifestJSON), Blob(record.archiveHeader), Blob(record.seekTable)])
    }

    /// Removes a row. Absent is success.
    package func remove(_ identifier: BackupIdentifier) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "DELETE FROM backup WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?",
                arguments: Self.arguments(identifier))
        }
    }

    package func allBackups() throws(CatalogError) -> [BackupSummary] {
        try summaries("ORDER BY backend, org, vm, date, disk", [])
    }

    package func backup(_ identifier: BackupIdentifier) throws(CatalogError) -> BackupSummary? {
        try summaries(
            "WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?", Self.arguments(identifier)
        ).first
    }

    /// The disks of one date, by name.
    package func backups(
        backend: ResourceName, org: ResourceName, vm: ResourceName, date: BackupDate
    ) throws(CatalogError) -> [BackupSummary] {
        try summaries(
            "WHERE backend = ? AND org = ? AND vm = ? AND date = ? ORDER BY disk",
            [backend.description, org.description, vm.description, date.description])
    }

    /// The newest backup of a disk at a backend.
    package func latest(
        backend: ResourceName, org: ResourceName, vm: ResourceName, disk: ResourceName
    ) throws(CatalogError) -> BackupSummary? {
        try summaries(
            "WHERE backend = ? AND org = ? AND vm = ? AND disk = ? ORDER BY date DESC LIMIT 1",
            [backend.description, org.description, vm.description, disk.description]
        ).first
    }

    /// All backups of a disk at a backend, by date.
    package func backups(of disk: DiskName, at backend: ResourceName) throws(CatalogError) -> [BackupSummary] {
        try summaries(
            "WHERE backend = ? AND org = ? AND vm = ? AND disk = ? ORDER BY date",
            [backend.description, disk.org.description, disk.vm.description, disk.disk.description])
    }

    /// All that opens a backup.
    package func access(_ identifier: BackupIdentifier) throws(CatalogError) -> BackupRecord? {
        try read { database in
            let row = try Row.fetchOne(
                database.cachedStatement(
                    sql: """
                        SELECT backup.*, manifest, header, seek_table FROM backup
                        LEFT JOIN backup_access ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ? AND removing_since IS NULL
                        """), arguments: Self.arguments(identifier))
            guard let row else { return nil }
            return try Self.record(row)
        }
    }

    static func record(_ row: Row) throws -> BackupRecord {
        let summary = try summary(row)
        guard let manifest = Blob(row["manifest"]), let header = Blob(row["header"]),
            let table = Blob(row["seek_table"])
        else { throw CatalogError(.corrupt, "the catalog's row of \(summary.identifier) is incomplete") }
        return BackupRecord(
            identifier: summary.identifier, manifestJSON: manifest.bytes, archiveHeader: header.bytes,
            seekTable: table.bytes,
            rawByteCount: summary.rawByteCount, archiveByteCount: summary.archiveByteCount,
            dataByteCount: summary.dataByteCount, createdAt: summary.createdAt, generation: summary.generation,
            archiveObject: summary.archiveObject, lockedUntil: summary.lockedUntil)
    }

    /// The archive's header and nonce, which no two archives share; nil where there is no such backup.
    package func archiveHeader(_ identifier: BackupIdentifier) throws(CatalogError) -> [UInt8]? {
        try read { database in
            let row = try Row.fetchOne(
                database.cachedStatement(
                    sql: """
                        SELECT header FROM backup LEFT JOIN backup_access ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                        """), arguments: Self.arguments(identifier))
            guard let row else { return nil }
            guard let header = Blob(row["header"]) else {
                throw CatalogError(.corrupt, "the catalog's row of \(identifier) is incomplete")
            }
            return header.bytes
        }
    }

    // MARK: Folders of the tree

    package func orgs(backend: ResourceName) throws(CatalogError) -> [ResourceName] {
        try names("org", "backend = :backend", ["backend": backend.description])
    }

    package func vms(backend: ResourceName, org: ResourceName) throws(CatalogError) -> [ResourceName] {
        try names(
            "vm", "backend = :backend AND org = :org", ["backend": backend.description, "org": org.description])
    }

    package func dates(
        backend: ResourceName, org: ResourceName, vm: ResourceName
    ) throws(CatalogError) -> [BackupDate] {
        try read { database in
            try String.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT DISTINCT date FROM (\(Self.standing)) WHERE backend = ? AND org = ? AND vm = ? ORDER BY date
                        """),
                arguments: [backend.description, org.description, vm.description]
            ).map { try Self.checked { try BackupDate($0) }($0) }
        }
    }

    package func addFolder(backend: ResourceName, org: ResourceName, vm: ResourceName?) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "INSERT OR IGNORE INTO staging_folder (backend, org, vm) VALUES (?, ?, ?)",
                arguments: [backend.description, org.description, vm?.description ?? ""])
        }
    }

    package func removeFolder(backend: ResourceName, org: ResourceName, vm: ResourceName?) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "DELETE FROM staging_folder WHERE backend = ? AND org = ? AND vm = ?",
                arguments: [backend.description, org.description, vm?.description ?? ""])
        }
    }

    package func folders() throws(CatalogError) -> [StagingFolder] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(sql: "SELECT backend, org, vm FROM staging_folder ORDER BY 1, 2, 3")
            )
            .map { row in
                let vm: String = try row.value("vm")
                return StagingFolder(
                    backend: try Self.name(row.value("backend")), org: try Self.name(row.value("org")),
                    vm: vm.isEmpty ? nil : try Self.name(vm))
            }
        }
    }

    // MARK: The journal of uploads

    /// Writes an entry, before anything is done at the backend. Returns its number.
    package func beginUpload(_ record: UploadRecord) throws(CatalogError) -> Int64 {
        try write { try Self.insert(record, $0) }
    }

    /// As `beginUpload`, for a new backup: nil when the name is taken, by a backup or by another upload. One transaction, so that
    /// of several who want a name one gets it.
    package func claimUpload(_ record: UploadRecord, for identifier: BackupIdentifier) throws(CatalogError) -> Int64? {
        try write { database in
            let isTaken = try Bool.fetchOne(
                database,
                sql: """
                    SELECT EXISTS (SELECT 1 FROM upload WHERE backend = ? AND archive_key = ?) OR EXISTS (
                    SELECT 1 FROM backup WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?)
                    """,
                arguments: [record.backend.description, record.archiveKey] + Self.arguments(identifier))
            return isTaken == false ? try Self.insert(record, database) : nil
        }
    }

    private static func insert(_ record: UploadRecord, _ database: Database) throws -> Int64 {
        try database.execute(
            sql: """
                INSERT INTO upload (backend, archive_key, manifest_key, upload_identifier, started_at, owner_process,
                owner_start_ticks, owner_boot, phase) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                record.backend.description, record.archiveKey, record.manifestKey, record.uploadIdentifier,
                record.startedAt, record.ownerProcess, Int64(clamping: record.ownerStartTicks),
                record.ownerBootIdentifier, record.phase.rawValue,
            ])
        return database.lastInsertedRowID
    }

    package func updateUpload(_ id: Int64, uploadIdentifier: String) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "UPDATE upload SET upload_identifier = ? WHERE id = ?", arguments: [uploadIdentifier, id])
        }
    }

    /// Writes down how far it is, before the step that this names is taken.
    package func updateUpload(_ id: Int64, phase: UploadRecord.Phase) throws(CatalogError) {
        try write { database in
            try database.execute(sql: "UPDATE upload SET phase = ? WHERE id = ?", arguments: [phase.rawValue, id])
        }
    }

    package func endUpload(_ id: Int64) throws(CatalogError) {
        try write { try $0.execute(sql: "DELETE FROM upload WHERE id = ?", arguments: [id]) }
    }

    package func uploads() throws(CatalogError) -> [UploadRecord] {
        try read { database in
            try Row.fetchAll(database.cachedStatement(sql: "SELECT * FROM upload ORDER BY id")).map { row in
                guard let phase = UploadRecord.Phase(rawValue: try row.value("phase")) else {
                    throw CatalogError(.corrupt, "the catalog holds an upload in an unknown phase")
                }
                return UploadRecord(
                    id: try row.value("id"), backend: try Self.name(row.value("backend")),
                    archiveKey: try row.value("archive_key"), manifestKey: try row.value("manifest_key"),
                    uploadIdentifier: try row.value("upload_identifier"), startedAt: try row.value("started_at"),
                    ownerProcess: try row.value("owner_process"),
                    ownerStartTicks: try Self.size(row.value("owner_start_ticks")),
                    ownerBootIdentifier: try row.value("owner_boot"), phase: phase)
            }
        }
    }

    // MARK: The whole

    /// Changes whenever anybody commits to the catalog: this process or another.
    package func changeToken() throws(CatalogError) -> Int64 {
        do {
            // The observer never writes, so every commit of this process's pool is another connection's to it.
            let connections = try connections()
            let version = try connections.observer.unsafeRead {
                try Int64.fetchOne($0, sql: "PRAGMA data_version") ?? 0
            }
            // Each file counts from the start: the same number of two files is no sameness.
            return connections.number << 32 ^ version
        } catch {
            throw Self.translate(error, path)
        }
    }

    /// SQLite's own check of the whole file; throws `.corrupt` with its first finding.
    package func checkIntegrity() throws(CatalogError) {
        try read { database in
            let findings = try String.fetchAll(database, sql: "PRAGMA integrity_check(1)")
            guard findings == ["ok"] else {
                throw CatalogError(.corrupt, "the catalog is damaged: \(findings.first ?? "no answer")")
            }
        }
    }

    // MARK: Rows

    /// The backups that nobody has begun to remove: those that anybody but the removal itself may see.
    static let standing = "SELECT * FROM backup WHERE removing_since IS NULL"

    func summaries(_ clause: String, _ arguments: StatementArguments) throws(CatalogError) -> [BackupSummary] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(sql: "SELECT * FROM (\(Self.standing)) \(clause)"), arguments: arguments
            )
            .map(Self.summary)
        }
    }

    /// The different values of a column, in order: one step in the index for each value, where DISTINCT would take one for
    /// each backup. UNION, not UNION ALL, ends the recursion even in a damaged index.
    func names(
        _ column: String, _ condition: String, _ arguments: StatementArguments
    ) throws(CatalogError) -> [ResourceName] {
        let sql = """
            WITH RECURSIVE step (name) AS (
                SELECT min(\(column)) FROM backup WHERE \(condition) AND removing_since IS NULL
                UNION
                SELECT (SELECT min(\(column)) FROM backup
                    WHERE \(condition) AND \(column) > name AND removing_since IS NULL)
                FROM step WHERE name IS NOT NULL
            )
            SELECT name FROM step WHERE name IS NOT NULL ORDER BY name
            """
        return try read { database in
            try String.fetchAll(database.cachedStatement(sql: sql), arguments: arguments).map(Self.name)
        }
    }

    static func arguments(_ identifier: BackupIdentifier) -> StatementArguments {
        [
            identifier.backend.description, identifier.org.description, identifier.vm.description,
            identifier.date.description, identifier.disk.description,
        ]
    }

    static func summary(_ row: Row) throws -> BackupSummary {
        let identifier = BackupIdentifier(
            backend: try name(row.value("backend")), org: try name(row.value("org")), vm: try name(row.value("vm")),
            date: try checked { try BackupDate($0) }(row.value("date")), disk: try name(row.value("disk")))
        return BackupSummary(
            identifier: identifier, rawByteCount: try size(row.value("raw_size")),
            archiveByteCount: try size(row.value("archive_size")), dataByteCount: try size(row.value("data_size")),
            createdAt: try row.value("created_at"), generation: try size(row.value("generation")),
            archiveObject: try optionalText(row, "archive_object"),
            lockedUntil: try row.value("locked_until", as: Int64?.self))
    }

    /// nil for NULL.
    static func optionalText(_ row: Row, _ column: String) throws -> String? {
        guard let stored: DatabaseValue = row[column], !stored.isNull else { return nil }
        return try row.value(column)
    }

    static func name(_ text: String) throws -> ResourceName {
        try checked { try ResourceName($0) }(text)
    }

    static func checked<Value>(_ parse: @escaping (String) throws -> Value) -> (String) throws -> Value {
        { text in
            do {
                return try parse(text)
            } catch {
                throw CatalogError(.corrupt, "the catalog holds a name that cannot be: \(error)", cause: error)
            }
        }
    }

    static func size(_ value: Int64) throws -> UInt64 {
        guard let size = UInt64(exactly: value) else {
            throw CatalogError(.corrupt, "the catalog holds a negative size")
        }
        return size
    }

    // MARK: Access

    func read<Value>(_ body: (Database) throws -> Value) throws(CatalogError) -> Value {
        do {
            return try connections().pool.read(body)
        } catch {
            throw Self.translate(error, path)
        }
    }

    func write<Value>(_ body: (Database) throws -> Value) throws(CatalogError) -> Value {
        do {
            return try connections().pool.write(body)
        } catch {
            throw Self.translate(error, path)
        }
    }

    static func translate(_ error: any Error, _ path: String) -> CatalogError {
        if let error = error as? CatalogError { return error }
        if let error = error as? DatabaseError, [.SQLITE_CORRUPT, .SQLITE_NOTADB].contains(error.resultCode) {
            return CatalogError(.corrupt, "the catalog \"\(path)\" is damaged: \(error.message ?? "")", cause: error)
        }
        if error is RowDecodingError {
            return CatalogError(.corrupt, "the catalog \"\(path)\" holds a value of another type", cause: error)
        }
        return CatalogError(.unusable, "the catalog \"\(path)\" cannot be used: \(error)", cause: error)
    }
}
