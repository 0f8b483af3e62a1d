internal import Agent
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Catalog
internal import Configuration
internal import Moments
internal import Snapshots

/// Makes a snapshot of a disk of the configuration: of its image in a pool, held still where that can be done.
struct SnapshotTaker: Sendable {
    let disk: Configuration.Disk
    private let format: ImageFormat
    private let method: MomentMethod
    private let isRequired: Bool
    private let snapshots: Snapshots
    private let stateDirectory: String

    /// - Parameter requiresConsistency: besides what the disk's automatic backups require.
    init(
        _ disk: Configuration.Disk, _ configuration: Configuration, _ snapshots: Snapshots,
        requiresConsistency: Bool = false
    ) throws {
        self.disk = disk
        self.snapshots = snapshots
        stateDirectory = configuration.stateDirectory
        format = try disk.imageFormat
        let automation = configuration.automation(of: disk)
        method = automation?.consistency.flatMap { MomentMethod(rawValue: $0) } ?? .auto
        isRequired = requiresConsistency || automation?.requiresConsistency ?? false
    }

    /// The disk's image and its pool. Everything that is wrong with them is an error here.
    func image() throws -> PooledImage {
        guard BlockSource.isFile(disk.source) else {
            throw EngineError(
                .source, "\"\(disk.source)\" is no regular file: snapshots are of the image files in pools")
        }
        return try snapshots.image(of: disk.name, source: disk.source)
    }

    /// What the image's bytes are.
    func imageFormat(notice: (String) -> Void) throws -> ImageFormat {
        try BlockSource.format(of: disk.source, format, notice: notice)
    }

    func take(progress: ProgressReport, notice: (String) -> Void) throws -> SnapshotRecord {
        let image = try image()
        let opener = SourceOpener(
            image.path, format: format, method: method, isRequired: isRequired, stateDirectory: stateDirectory,
            log: snapshots.log)
        return try snapshots.create(image, progress: progress) {
            let opened = try opener.open(notice: notice)
            return (opened.image, opened.release)
        }
    }
}

extension Configuration {
    /// A disk that has a source, which is what a snapshot is made of.
    func disk(_ name: DiskName) throws -> Disk {
        guard let disk = disks.first(where: { $0.name == name }) else {
            throw EngineError(
                .notFound, "the configuration does not say where the disk \(name) is",
                hint: "[orgs.\(name.org).vms.\(name.vm).disks.\(name.disk)] source = …, an image in a pool")
        }
        return disk
    }
}
