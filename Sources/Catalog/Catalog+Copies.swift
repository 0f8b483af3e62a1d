package import BackupNames
internal import GRDB

/// A row as a copy of the catalog has it: all that opens a backup but the seek table, which the archive has too.
package struct CopiedBackup: Sendable, Hashable {
    package let identifier: BackupIdentifier
    package let generation: UInt64
    package let archiveObject: String?
    package let createdAt: Int64
    package let rawByteCount: UInt64
    package let dataByteCount: UInt64
    package let archiveByteCount: UInt64
    /// The manifest as sealed.
    package let manifestJSON: [UInt8]
    package let archiveHeader: [UInt8]

    package init(
        identifier: BackupIdentifier, generation: UInt64, archiveObject: String?, createdAt: Int64,
        rawByteCount: UInt64, dataByteCount: UInt64, archiveByteCount: UInt64, manifestJSON: [UInt8],
        archiveHeader: [UInt8]
    ) {
        self.identifier = identifier
        self.generation = generation
        self.archiveObject = archiveObject
        self.createdAt = createdAt
        self.rawByteCount = rawByteCount
        self.dataByteCount = dataByteCount
        self.archiveByteCount = archiveByteCount
        self.manifestJSON = manifestJSON
        self.archiveHeader = archiveHeader
    }
}

/// Something that is known of a backup beyond its row, or of one that was.
package enum CopiedFact: Sendable, Hashable {
    case check(BackupIdentifier, CheckRecord)
    case damage(BackupIdentifier, DamageRecord)
    case run(RunRecord)
}

/// What was last copied of an org to a backend.
package struct CatalogCopyRecord: Sendable, Hashable {
    /// SHA-256 of the backups in it, and behind it that of their history: 64 bytes.
    package let contentSHA256: [UInt8]
    /// Seconds since 1970.
    package let copiedAt: Int64

    package init(contentSHA256: [UInt8], copiedAt: Int64) {
        self.contentSHA256 = contentSHA256
        self.copiedAt = copiedAt
    }
}

/// What copies of the catalog are made of, and remember.
extension Catalog {
    /// A random name of this catalog: a new one for each catalog that is made, so that the copies of a catalog that was lost are
    /// not taken for older ones of its successor.
    package func origin() throws(CatalogError) -> String {
        try read { database in
            guard let origin = try String.fetchOne(database, sql: "SELECT identifier FROM catalog_origin") else {
                throw CatalogError(.corrupt, "the catalog has no origin")
            }
            return origin
        }
    }

    /// The orgs that have backups or runs, by name.
    package func copiedOrgs() throws(CatalogError) -> [ResourceName] {
        try read { database in
            try String.fetchAll(database, sql: "SELECT org FROM backup UNION SELECT org FROM run ORDER BY 1")
                .map(Self.name)
        }
    }

    /// The backends that have backups, by name, whatever the configuration says.
    package func backendsInUse() throws(CatalogError) -> [ResourceName] { try names("backend", "true", [:]) }

    /// At most `limit` backups of an org at a backend, by name, those after `last`.
    package func copiedBackups(
        backend: ResourceName, org: ResourceName, after last: BackupIdentifier?, limit: Int
    ) throws(CatalogError) -> [CopiedBackup] {
        try read { database in
            let rows = try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT backup.*, manifest, header FROM backup
                        LEFT JOIN backup_access ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND (vm, date, disk) > (?, ?, ?) AND removing_since IS NULL
                        ORDER BY vm, date, disk LIMIT ?
                        """), arguments: Self.page(backend, org, after: last, limit))
            return try rows.map { row in
                let summary = try Self.summary(row)
                guard let manifest = Blob(row["manifest"]), let header = Blob(row["header"]) else {
                    throw CatalogError(.corrupt, "the catalog's row of \(summary.identifier) is incomplete")
                }
                return CopiedBackup(
                    identifier: summary.identifier, generation: try Self.size(row.value("generation")),
                    archiveObject: try row.value("archive_object", as: String?.self), createdAt: summary.createdAt,
                    rawByteCount: summary.rawByteCount, dataByteCount: summary.dataByteCount,
                    archiveByteCount: summary.archiveByteCount, manifestJSON: manifest.bytes,
                    archiveHeader: header.bytes)
            }
        }
    }

    /// The checks and damage of at most `limit` backups, those after `last`; with the last backup that was looked at.
    package func copiedHistory(
        backend: ResourceName, org: ResourceName, after last: BackupIdentifier?, limit: Int
    ) throws(CatalogError) -> (facts: [CopiedFact], last: BackupIdentifier?) {
        try read { database in
            let rows = try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT * FROM (\(Self.standing)) WHERE backend = ? AND org = ? AND (vm, date, disk) > (?, ?, ?)
                        ORDER BY vm, date, disk LIMIT ?
                        """), arguments: Self.page(backend, org, after: last, limit))
            let checks = try database.cachedStatement(
                sql: "SELECT * FROM backup_check WHERE backup_id = ? ORDER BY depth")
            let damage = try database.cachedStatement(
                sql: "SELECT * FROM damage WHERE backup_id = ? ORDER BY archive_offset, raw_offset LIMIT ?")
            var facts: [CopiedFact] = []
            var last: BackupIdentifier?
            for row in rows {
                let identifier = try Self.summary(row).identifier
                let id: Int64 = try row.value("id")
                facts += try Row.fetchAll(checks, arguments: [id]).map { .check(identifier, try Self.check($0)) }
                facts += try Row.fetchAll(damage, arguments: [id, Self.copiedDamageLimit])
                    .map { .damage(identifier, try Self.damage($0)) }
                last = identifier
            }
            return (facts, last)
        }
    }

    /// At most `limit` runs of an org, the oldest first, those after the row `last`; with the row of the last one.
    package func copiedRuns(
        org: ResourceName, after last: Int64, limit: Int
    ) throws(CatalogError) -> (runs: [RunRecord], last: Int64) {
        try read { database in
            let rows = try Row.fetchAll(
                database.cachedStatement(sql: "SELECT * FROM run WHERE org = ? AND id > ? ORDER BY id LIMIT ?"),
                arguments: [org.description, last, limit])
            return (try rows.map(Self.run), try rows.last?.value("id") ?? last)
        }
    }

    /// Stretches of damage of one backup that are copied.
    private static let copiedDamageLimit = 1000

    private static func page(
        _ backend: ResourceName, _ org: ResourceName, after last: BackupIdentifier?, _ limit: Int
    ) -> StatementArguments {
        [
            backend.description, org.description, last?.vm.description ?? "", last?.date.description ?? "",
            last?.disk.description ?? "", limit,
        ]
    }

    // MARK: What was copied

    package func copyRecord(backend: ResourceName, org: ResourceName) throws(CatalogError) -> CatalogCopyRecord? {
        try read { database in
            let row = try Row.fetchOne(
                database, sql: "SELECT * FROM catalog_copy WHERE backend = ? AND org = ?",
                arguments: [backend.description, org.description])
            guard let row else { return nil }
            guard let digest = Blob(row["content_sha256"]) else {
                throw CatalogError(.corrupt, "the catalog's record of a copy has no digest")
            }
            return CatalogCopyRecord(contentSHA256: digest.bytes, copiedAt: try row.value("copied_at"))
        }
    }

    package func noteCopy(
        _ record: CatalogCopyRecord, backend: ResourceName, org: ResourceName
    ) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: "INSERT OR REPLACE INTO catalog_copy VALUES (?, ?, ?, ?)",
                arguments: [
                    backend.description, org.description, Blob(record.contentSHA256), record.copiedAt,
                ])
        }
    }

    // MARK: Taking history back

    /// Takes over what is not known: checks that are later than ours, damage that no later check contradicts, runs. What is
    /// about a backup that is not there is passed over, runs apart. One transaction. Returns how many were new.
    package func merge(_ facts: [CopiedFact]) throws(CatalogError) -> Int {
        guard !facts.isEmpty else { return 0 }
        return try write { database in
            var count = 0
            for fact in facts {
                switch fact {
                case .check(let identifier, let check): count += try Self.merge(check, of: identifier, database)
                case .damage(let identifier, let damage): count += try Self.merge(damage, of: identifier, database)
                case .run(let run): count += try Self.merge(run, database)
                }
            }
            return count
        }
    }

    private static func merge(
        _ check: CheckRecord, of identifier: BackupIdentifier, _ database: Database
    ) throws -> Int {
        try database.execute(
            sql: """
                INSERT INTO backup_check (backup_id, depth, checked_at, good_at, outcome, detail)
                SELECT id, ?, ?, ?, ?, ? FROM backup
                WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                ON CONFLICT (backup_id, depth) DO UPDATE SET checked_at = excluded.checked_at,
                good_at = coalesce(excluded.good_at, good_at), outcome = excluded.outcome, detail = excluded.detail
                WHERE excluded.checked_at > checked_at
                """,
            arguments: [check.depth.rawValue, check.checkedAt, check.goodAt, check.outcome, check.detail]
                + arguments(identifier))
        return database.changesCount
    }

    private static func merge(
        _ damage: DamageRecord, of identifier: BackupIdentifier, _ database: Database
    ) throws -> Int {
        try database.execute(
            sql: """
                INSERT OR IGNORE INTO damage SELECT id, ?, ?, ?, ?, ?, ?, ? FROM backup
                WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ? AND NOT EXISTS (
                SELECT 1 FROM backup_check WHERE backup_id = backup.id AND depth != ? AND checked_at > ?)
                """,
            arguments: [
                Int64(clamping: damage.archiveRange.lowerBound), Int64(clamping: damage.archiveRange.count),
                damage.frame, Int64(clamping: damage.rawRange.lowerBound), Int64(clamping: damage.rawRange.count),
                damage.foundAt, damage.detail,
            ] + arguments(identifier) + [CheckDepth.presence.rawValue, damage.foundAt])
        return database.changesCount
    }

    private static func merge(_ run: RunRecord, _ database: Database) throws -> Int {
        let identifier = run.identifier
        let isKnown = try Bool.fetchOne(
            database.cachedStatement(
                sql: """
                    SELECT EXISTS (SELECT 1 FROM run WHERE org = ? AND vm = ? AND disk = ? AND kind = ?
                    AND started_at = ? AND backend = ? AND date = ? AND total_ms = ?)
                    """),
            arguments: [
                identifier.org.description, identifier.vm.description, identifier.disk.description,
                run.kind.rawValue, run.startedAt, identifier.backend.description, identifier.date.description,
                run.totalMilliseconds,
            ])
        if isKnown == true { return 0 }
        try insert(run, database)
        return 1
    }
}
