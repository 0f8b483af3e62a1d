internal import Agent
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import Moments
internal import Snapshots

struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Snapshots of disks inside their pool, for undo: \(SnapshotIdentifier.label).",
        discussion: """
            A pool is a folder of live images ([pools.NAME] path). A snapshot is a full raw image of one consistent point in the same \
            pool; it shares no block with the disk. It is an \(SnapshotIdentifier.label): what takes the pool takes it, too, \
            and nothing that counts backups counts one.

            A disk is ORG/VM[/DISK], or POOL:ORG/VM[/DISK]; a snapshot is its date, or `latest`. `holdfast agent` makes them as \
            [pools.NAME] every and keep say; in a mount they are below snapshots/.
            """,
        subcommands: [
            SnapshotCreateCommand.self, SnapshotListCommand.self, SnapshotShowCommand.self,
            SnapshotRollbackCommand.self, SnapshotCloneCommand.self, SnapshotDeleteCommand.self,
        ])
}

/// The disk that every verb but `list` takes.
struct SnapshotDiskArgument: ParsableArguments {
    @Argument(help: "The disk: [POOL:]ORG/VM[/DISK].") var disk: String

    var pattern: SnapshotDiskPattern { get throws { try SnapshotDiskPattern(disk) } }
}

/// The snapshot of a disk, by date.
struct SnapshotArguments: ParsableArguments {
    @OptionGroup var disk: SnapshotDiskArgument
    @Argument(help: "The snapshot: its date, or latest.") var date: String

    func find(_ snapshots: Snapshots) throws -> SnapshotRecord {
        try snapshots.find(
            disk.pattern, date == "latest" ? .latest : .exactly(BackupDate(date)))
    }
}

extension CommonOptions {
    /// As `withEngine`, with the snapshots of the pools, after what an earlier process left there was cleaned up.
    func withSnapshots<Result>(_ body: (Snapshots, Configuration) throws -> Result) throws -> Result {
        try withEngine { engine, configuration in
            let snapshots = Composition.snapshots(configuration, engine)
            snapshots.cleanUpAfterCrash()
            return try body(snapshots, configuration)
        }
    }
}

struct SnapshotCreateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a snapshot of a disk: \(SnapshotIdentifier.label).",
        discussion: """
            The disk must have a source in the configuration, an image file in a pool. An image of another format becomes raw. What \
            is zero takes no room; for the rest there must be room in the pool.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var disk: SnapshotDiskArgument
    @Flag(help: "No snapshot rather than one without a consistent point.") var requireConsistency = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try common.withSnapshots { snapshots, configuration in
            let pattern = try disk.pattern
            let taker = try SnapshotTaker(
                configuration.disk(pattern.disk), configuration, snapshots, requiresConsistency: requireConsistency)
            let pool = try taker.image().pool
            guard pattern.pool == nil || pattern.pool == pool.name else {
                throw EngineError(.notFound, "the image of \(pattern.disk) is in the pool \"\(pool.name)\"")
            }
            let line = ProgressLine()
            defer { line.end() }
            let record = try taker.take(progress: { line.show("snapshot", $0, $1) }) {
                // What there is is told by the report.
                if !$0.hasPrefix(Moments.noMoment) { StandardStream.error.write("notice: \($0)\n") }
            }
            line.end()
            if json { return try printJSON(SnapshotReport(record)) }
            StandardStream.output.write(record.text)
        }
    }
}

extension SnapshotRecord {
    /// For people.
    var text: String {
        """
        snapshot    \(identifier)
        kind        \(SnapshotIdentifier.label)
        taken       \(BackupDate(secondsSince1970: createdAt)), consistency \(consistency)
        of          \(origin)
        raw         \(readableSize(rawByteCount)), of it data \(readableSize(dataByteCount))
        sha256      \(hashText)

        """
    }
}
