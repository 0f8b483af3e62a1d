internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List backups, oldest first.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only what this names: [BACKEND:][ORG[/VM[/DATE[/DISK]]]].") var pattern: String?
    @Flag(help: "Print JSON.") var json = false

    struct Row: Encodable {
        let backup: String
        let backend: String
        let org: String
        let vm: String
        let date: String
        let disk: String
        let raw_size: UInt64
        let data_size: UInt64
        let archive_size: UInt64
        let created_at: Int64
        let locked_until: String?
        let checks: [Check]

        init(_ backup: BackupSummary, _ checks: [CheckRecord]) {
            let identifier = backup.identifier
            self.backup = "\(identifier)"
            backend = "\(identifier.backend)"
            org = "\(identifier.org)"
            vm = "\(identifier.vm)"
            date = "\(identifier.date)"
            disk = "\(identifier.disk)"
            raw_size = backup.rawByteCount
            data_size = backup.dataByteCount
            archive_size = backup.archiveByteCount
            created_at = backup.createdAt
            locked_until = backup.lockEnd
            self.checks = checks.map(Check.init)
        }
    }

    /// The last check of a depth.
    struct Check: Encodable {
        let depth: String
        let outcome: String
        let detail: String
        let checked_at: Int64
        let good_at: Int64?

        init(_ check: CheckRecord) {
            depth = check.depth.rawValue
            outcome = check.outcome
            detail = check.detail
            checked_at = check.checkedAt
            good_at = check.goodAt
        }
    }

    func run() throws {
        try common.withEngine { engine, _ in
            let filter = try pattern.map { try ListFilter($0) }
            let backups = try engine.catalog.allBackups().filter { filter?.matches($0.identifier) ?? true }
                .sorted { ($0.createdAt, "\($0.identifier)") < ($1.createdAt, "\($1.identifier)") }
            let checks = try engine.catalog.allChecks()
            if json { return try printJSON(backups.map { Row($0, checks[$0.identifier] ?? []) }) }
            printTable(
                ["BACKUP", "RAW", "DATA", "STORED", "LOCKED UNTIL", "CHECKED"],
                backups.map {
                    [
                        "\($0.identifier)", readableSize($0.rawByteCount), readableSize($0.dataByteCount),
                        readableSize($0.archiveByteCount), $0.lockEnd ?? "-", (checks[$0.identifier] ?? []).summary,
                    ]
                })
        }
    }
}
