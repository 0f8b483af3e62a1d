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

        init(_ backup: BackupSummary) {
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
        }
    }

    func run() throws {
        try common.withEngine { engine, _ in
            let filter = try pattern.map { try ListFilter($0) }
            let backups = try engine.catalog.allBackups().filter { filter?.matches($0.identifier) ?? true }
                .sorted { ($0.createdAt, "\($0.identifier)") < ($1.createdAt, "\($1.identifier)") }
            if json { return try printJSON(backups.map(Row.init)) }
            printTable(
                ["BACKUP", "RAW", "DATA", "STORED"],
                backups.map {
                    [
                        "\($0.identifier)", readableSize($0.rawByteCount), readableSize($0.dataByteCount),
                        readableSize($0.archiveByteCount),
                    ]
                })
        }
    }
}
