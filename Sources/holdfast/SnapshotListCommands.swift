internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Snapshots

struct SnapshotListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List snapshots, oldest first: in-cluster copies, not backups.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only of this: ORG[/VM[/DISK]].") var pattern: String?
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try common.withSnapshots { snapshots, _ in
            let filter = try pattern.map { try ListFilter($0) }
            let records = try snapshots.all().filter { filter?.matches($0.identifier.diskName) ?? true }
            if json { return try printJSON(records.map(SnapshotReport.init)) }
            printTable(
                ["SNAPSHOT", "RAW", "DATA", "CONSISTENCY", "WHAT IT IS"],
                records.map {
                    [
                        "\($0.identifier)", readableSize($0.rawByteCount), readableSize($0.dataByteCount),
                        $0.consistency, SnapshotIdentifier.label,
                    ]
                })
        }
    }
}

struct SnapshotShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the facts of a snapshot: \(SnapshotIdentifier.label).",
        discussion: "With --verify it is read through, and its SHA-256 compared: code 5 where it is damaged.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var snapshot: SnapshotArguments
    @Flag(help: "Read it, and compare its hash.") var verify = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try common.withSnapshots { snapshots, _ in
            let record = try snapshot.find(snapshots)
            if verify {
                let line = ProgressLine()
                defer { line.end() }
                try snapshots.verify(record) { line.show("verify", $0, $1) }
            }
            if json { return try printJSON(SnapshotReport(record)) }
            StandardStream.output.write(record.text + (verify ? "verified    its bytes have this hash\n" : ""))
        }
    }
}
