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

/// The start of a backup's name: as many parts as are given must match.
struct ListFilter {
    private let backend: String?
    private let parts: [String]

    init(_ text: String) throws {
        var rest = Substring(text)
        if let colon = rest.firstIndex(of: ":") {
            backend = String(rest[..<colon])
            rest = rest[rest.index(after: colon)...]
        } else {
            backend = nil
        }
        parts = rest.split(separator: "/").map(String.init)
        guard parts.count <= 4 else {
            throw EngineError(.invalidName, "\"\(text)\" has more parts than ORG/VM/DATE/DISK")
        }
    }

    func matches(_ identifier: BackupIdentifier) -> Bool {
        if let backend, "\(identifier.backend)" != backend { return false }
        let own = ["\(identifier.org)", "\(identifier.vm)", "\(identifier.date)", "\(identifier.disk)"]
        return zip(parts, own).allSatisfy { $0 == $1 }
    }
}
