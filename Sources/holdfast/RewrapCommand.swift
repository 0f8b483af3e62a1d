internal import ArgumentParser
internal import BackupEngine
internal import BackupNames

struct RewrapKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rewrap",
        abstract: "Encrypt the file keys of existing backups to the current key, and to the recovery recipients.",
        discussion: """
            For each backup that is not: a new archive with a new age header and the same payload, copied where the backend \
            is if it can, then read once and compared; then the old one is removed. An older key is needed until then. What \
            somebody has copied of the old archive stays readable with the old key.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The org.") var org: String
    @Argument(help: "Only what this names: [BACKEND:][ORG[/VM[/DATE[/DISK]]]].") var pattern: String?
    @Flag(help: "Only say what would be done, and how many bytes would be read.") var dryRun = false
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        let backup: String
        let archive_size: UInt64
        let read_size: UInt64
        let copied_in_place: Bool
        /// nil in a dry run.
        let outcome: String?
        let detail: String?
    }

    func run() throws {
        let failure: EngineError? = try common.withEngine(changesCatalog: true) { engine, _ in
            let filter = try pattern.map { try ListFilter($0) }
            let needs = try engine.backupsToRewrap(ResourceName(org)) { filter?.matches($0) ?? true }
            if dryRun {
                try show(needs.map { row($0, nil, nil) })
                return nil
            }
            return try rewrap(needs, engine)
        }
        // What could be done is done; that something could not must not look like success.
        if let failure { throw failure }
    }

    private func rewrap(_ needs: [RewrapNeed], _ engine: Engine) throws -> EngineError? {
        var rows: [Row] = []
        var failure: EngineError?
        for need in needs {
            let line = ProgressLine()
            defer { line.end() }
            do throws(EngineError) {
                switch try engine.rewrap(need.identifier, progress: { line.show("prove", $0, $1) }) {
                case .rewrapped: rows.append(row(need, "rewrapped", nil))
                case .current: rows.append(row(need, "current", nil))
                case .rewrappedWithRemains(let error):
                    rows.append(row(need, "old archive stays", error.detail))
                }
            } catch {
                failure = failure ?? error
                rows.append(row(need, "failed", error.detail))
            }
        }
        try show(rows)
        return failure
    }

    private func row(_ need: RewrapNeed, _ outcome: String?, _ detail: String?) -> Row {
        Row(
            backup: "\(need.identifier)", archive_size: need.archiveByteCount, read_size: need.readByteCount,
            copied_in_place: need.isCopiedInPlace, outcome: outcome, detail: detail)
    }

    private func show(_ rows: [Row]) throws {
        if json { return try printJSON(rows) }
        for row in rows where row.detail != nil {
            StandardStream.error.write("\(row.backup): \(row.outcome ?? ""): \(row.detail ?? "")\n")
        }
        printTable(
            ["BACKUP", "STORED", "READ", "COPY", "OUTCOME"],
            rows.map {
                [
                    $0.backup, readableSize($0.archive_size), readableSize($0.read_size),
                    $0.copied_in_place ? "in place" : "through here", $0.outcome ?? "-",
                ]
            })
        let total = rows.reduce(UInt64(0)) { $0 + $1.read_size }
        if dryRun { StandardStream.output.write("\(rows.count) backups, \(readableSize(total)) to read\n") }
    }
}
