package import BackupNames
internal import GRDB

/// How much of a backup a check looks at.
package enum CheckDepth: String, Sendable, CaseIterable, Comparable {
    /// Sidecar and archive exist, the archive's size agrees, the sidecar is authentic. One HEAD, one small GET.
    case presence
    /// Every byte of the archive, against its SHA-256. Needs no key that reads.
    case archive
    /// Every chunk and frame, and the SHA-256 of the raw image.
    case raw

    package static func < (left: CheckDepth, right: CheckDepth) -> Bool { left.rank < right.rank }

    private var rank: Int {
        switch self {
        case .presence: 0
        case .archive: 1
        case .raw: 2
        }
    }
}

/// The last check of one depth of one backup. Times are seconds since 1970.
package struct CheckRecord: Sendable, Hashable {
    package static let good = "good"

    package let depth: CheckDepth
    package let checkedAt: Int64
    /// When a check of this depth last found nothing wrong.
    package let goodAt: Int64?
    /// `good`, or the code of what was found.
    package let outcome: String
    package let detail: String

    package init(depth: CheckDepth, checkedAt: Int64, goodAt: Int64?, outcome: String, detail: String) {
        self.depth = depth
        self.checkedAt = checkedAt
        self.goodAt = goodAt
        self.outcome = outcome
        self.detail = detail
    }

    package var isGood: Bool { outcome == Self.good }
}

/// A stretch of an archive that cannot be read, and the raw bytes that it costs.
package struct DamageRecord: Sendable, Hashable {
    package let archiveRange: Range<UInt64>
    /// nil where no single frame is concerned: the header, the seek table, a chunk that several frames share.
    package let frame: Int?
    package let rawRange: Range<UInt64>
    package let foundAt: Int64
    package let detail: String

    package init(archiveRange: Range<UInt64>, frame: Int?, rawRange: Range<UInt64>, foundAt: Int64, detail: String) {
        self.archiveRange = archiveRange
        self.frame = frame
        self.rawRange = rawRange
        self.foundAt = foundAt
        self.detail = detail
    }
}

extension Catalog {
    /// Writes down a check; `outcome` is `CheckRecord.good` or a code. A backup that is gone is no error.
    package func noteCheck(
        _ identifier: BackupIdentifier, _ depth: CheckDepth, at time: Int64, outcome: String, detail: String
    ) throws(CatalogError) {
        try write { database in
            try database.execute(
                sql: """
                    INSERT INTO backup_check (backup_id, depth, checked_at, good_at, outcome, detail)
                    SELECT id, ?, ?, ?, ?, ? FROM backup
                    WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                    ON CONFLICT (backup_id, depth) DO UPDATE SET checked_at = excluded.checked_at,
                    good_at = coalesce(excluded.good_at, good_at), outcome = excluded.outcome, detail = excluded.detail
                    """,
                arguments: [
                    depth.rawValue, time, outcome == CheckRecord.good ? time : nil, outcome, detail,
                ] + Self.arguments(identifier))
        }
    }

    /// The last check of each depth, where there was one.
    package func checks(_ identifier: BackupIdentifier) throws(CatalogError) -> [CheckRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT backup_check.* FROM backup_check JOIN backup ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                        """), arguments: Self.arguments(identifier)
            ).map(Self.check).sorted { $0.depth < $1.depth }
        }
    }

    /// The same of every backup of a disk at a backend.
    package func checks(
        of disk: DiskName, at backend: ResourceName
    ) throws(CatalogError) -> [BackupDate: [CheckRecord]] {
        try read { database in
            var checks: [BackupDate: [CheckRecord]] = [:]
            let rows = try Row.fetchCursor(
                database.cachedStatement(
                    sql: """
                        SELECT date, backup_check.* FROM backup JOIN backup_check ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND disk = ?
                        """),
                arguments: [backend.description, disk.org.description, disk.vm.description, disk.disk.description])
            while let row = try rows.next() {
                let date = try BackupDate(row.value("date") as String)
                checks[date, default: []].append(try Self.check(row))
            }
            return checks.mapValues { $0.sorted { $0.depth < $1.depth } }
        }
    }

    /// The same of every backup.
    package func allChecks() throws(CatalogError) -> [BackupIdentifier: [CheckRecord]] {
        try read { database in
            var checks: [BackupIdentifier: [CheckRecord]] = [:]
            let rows = try Row.fetchCursor(
                database.cachedStatement(
                    sql: "SELECT * FROM backup_check JOIN backup ON backup_id = backup.id"))
            while let row = try rows.next() {
                checks[try Self.summary(row).identifier, default: []].append(try Self.check(row))
            }
            return checks.mapValues { $0.sorted { $0.depth < $1.depth } }
        }
    }

    /// Replaces what is known to be damaged of a backup; nothing once it is whole again.
    package func setDamage(_ identifier: BackupIdentifier, _ damage: [DamageRecord]) throws(CatalogError) {
        try write { database in
            let id = try Int64.fetchOne(
                database,
                sql: "SELECT id FROM backup WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?",
                arguments: Self.arguments(identifier))
            guard let id else { return }
            try Self.setDamage(id, damage, database)
        }
    }

    static func setDamage(_ id: Int64, _ damage: [DamageRecord], _ database: Database) throws {
        try database.execute(sql: "DELETE FROM damage WHERE backup_id = ?", arguments: [id])
        for record in damage {
            try database.execute(
                sql: "INSERT OR REPLACE INTO damage VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                arguments: [
                    id, Int64(clamping: record.archiveRange.lowerBound), Int64(clamping: record.archiveRange.count),
                    record.frame, Int64(clamping: record.rawRange.lowerBound),
                    Int64(clamping: record.rawRange.count), record.foundAt, record.detail,
                ])
        }
    }

    package func damage(_ identifier: BackupIdentifier) throws(CatalogError) -> [DamageRecord] {
        try read { database in
            try Row.fetchAll(
                database.cachedStatement(
                    sql: """
                        SELECT damage.* FROM damage JOIN backup ON backup_id = backup.id
                        WHERE backend = ? AND org = ? AND vm = ? AND date = ? AND disk = ?
                        ORDER BY archive_offset, raw_offset
                        """), arguments: Self.arguments(identifier)
            ).map(Self.damage)
        }
    }

    static func damage(_ row: Row) throws -> DamageRecord {
        DamageRecord(
            archiveRange: try range(row, "archive_offset", "archive_size"),
            frame: try row.value("frame", as: Int?.self), rawRange: try range(row, "raw_offset", "raw_size"),
            foundAt: try row.value("found_at"), detail: try row.value("detail"))
    }

    static func range(_ row: Row, _ offset: String, _ size: String) throws -> Range<UInt64> {
        let start = try Self.size(row.value(offset))
        let (end, overflows) = start.addingReportingOverflow(try Self.size(row.value(size)))
        guard !overflows else { throw CatalogError(.corrupt, "the catalog holds a range that cannot be") }
        return start..<end
    }

    static func check(_ row: Row) throws -> CheckRecord {
        guard let depth = CheckDepth(rawValue: try row.value("depth")) else {
            throw CatalogError(.corrupt, "the catalog holds a check of an unknown depth")
        }
        return CheckRecord(
            depth: depth, checkedAt: try row.value("checked_at"), goodAt: try row.value("good_at", as: Int64?.self),
            outcome: try row.value("outcome"), detail: try row.value("detail"))
    }
}
