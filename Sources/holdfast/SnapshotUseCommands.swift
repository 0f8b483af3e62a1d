internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Catalog
internal import Configuration
internal import Snapshots

struct SnapshotRollbackCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback", abstract: "Put a snapshot in the place of its disk's image.",
        discussion: """
            The image must be raw, and nobody may have it open: stop the guest. A full copy of the snapshot is made beside it, verified \
            by its hash, and takes its name in one step; owner, group, mode and extended attributes stay. Whatever ends it early \
            leaves the old image or the new one, whole. What the disk holds now is lost: `snapshot create` first keeps it.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var snapshot: SnapshotArguments

    func run() throws {
        try common.withSnapshots { snapshots, configuration in
            let record = try snapshot.find(snapshots)
            let disk = record.identifier.diskName
            let taker = try SnapshotTaker(configuration.disk(disk), configuration, snapshots)
            let image: PooledImage
            do {
                image = try taker.image()
            } catch let error as EngineError where error.hint == nil {
                throw EngineError(
                    error.code, error.detail, hint: "holdfast snapshot clone makes a new image of a snapshot",
                    cause: error)
            }
            let format = try taker.imageFormat { StandardStream.error.write("notice: \($0)\n") }
            guard format == .raw else {
                throw EngineError(
                    .target,
                    "the image of \(disk) is \(format.rawValue), and snapshots are raw: it cannot be replaced by one",
                    hint: "holdfast snapshot clone \(disk) \(record.identifier.date) NEW.raw, and give the guest that")
            }
            let line = ProgressLine()
            defer { line.end() }
            try snapshots.rollBack(record, image: image) { line.show("rollback", $0, $1) }
            line.end()
            StandardStream.output.write("rolled back  \(image.path) to \(record.identifier)\n")
        }
    }
}

struct SnapshotCloneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clone", abstract: "Make a new disk image of a snapshot, in the same pool.",
        discussion:
            "The file must not exist; it is raw, its owner's alone (0600), and verified before it gets its name.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var snapshot: SnapshotArguments
    @Argument(help: "The new image, in the pool.") var file: String

    func run() throws {
        try common.withSnapshots { snapshots, _ in
            let record = try snapshot.find(snapshots)
            let line = ProgressLine()
            defer { line.end() }
            let path = try snapshots.clone(record, to: file) { line.show("clone", $0, $1) }
            line.end()
            StandardStream.output.write("cloned  \(record.identifier) to \(path)\n")
        }
    }
}

struct SnapshotDeleteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "delete", abstract: "Remove a snapshot.")

    @OptionGroup var common: CommonOptions
    @OptionGroup var snapshot: SnapshotArguments

    func run() throws {
        try common.withSnapshots { snapshots, _ in
            let record = try snapshot.find(snapshots)
            try snapshots.delete(record.identifier)
            StandardStream.output.write("deleted  \(record.identifier)\n")
        }
    }
}
