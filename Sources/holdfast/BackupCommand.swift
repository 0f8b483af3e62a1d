internal import Agent
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Configuration
internal import CryptoPrimitives
internal import Daemon
internal import Glibc
internal import Logging
internal import Manifest
internal import Moments
internal import Synchronization

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Back up an image, a block device, an NBD export, a disk of a running guest, or standard input.",
        discussion: """
            What is known to be a hole is not read: in a sparse file, a qcow2, vmdk, vdi or vhdx image, or where an NBD server says so.
            With --format auto an image is of the format that both its name and its first bytes say, else raw: the bytes alone \
            never decide, for the guest writes those of a raw image. Formats are read through qemu-nbd.
            A disk of a running QEMU guest is DRIVE of its QMP socket: qmp+unix:///DRIVE?socket=/run/vm.qmp, with \
            &agent=/run/vm.qga where the guest's agent shall freeze its file systems for the moment that is backed up.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(
        help:
            "A file, a block device, nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, qmp+unix:///DRIVE?socket=PATH, or - for standard input."
    )
    var source: String
    @Option(help: "The org that owns the backup.") var org: String
    @Option(help: "The machine.") var vm: String
    @Option(help: "The disk of the machine.") var disk = "disk"
    @Option(help: "The backend; needed where several are configured and the org has none set.") var backend: String?
    @Option(help: "The format of an image file: auto, raw, qcow2, vmdk, vdi or vhdx.") var format = ImageFormat.auto
    @Option(
        help:
            "How a source that is written to is held still: auto (default), none, reflink (XFS, btrfs), btrfs, lvm or zfs."
    )
    var consistency: MomentMethod?
    @Flag(help: "No backup rather than one without a consistent point.") var requireConsistency = false
    @Flag(help: "Read the source to its end and say how fast that went; store nothing.") var dryRun = false
    @Flag(help: "Print the manifest as JSON.") var json = false

    func run() throws {
        // Before any thread is there. What is in a guest's QEMU is to be removed after Ctrl-C, too; all else the kernel does.
        let interruption = GuestDrive.isURI(source) ? Interruption() : nil
        if dryRun { return try runDry(interruption) }
        try common.withEngine(changesCatalog: true) { engine, configuration in
            let org = try ResourceName(org)
            let disk = try DiskName(org: org, vm: ResourceName(vm), disk: ResourceName(disk))
            let name = try backend.map { try ResourceName($0) } ?? configuration.defaultBackend(of: org)
            try engine.cleanUpAfterCrash(only: name)
            SourceOpener.cleanUpAfterCrash(stateDirectory: configuration.stateDirectory, log: engine.log)
            let backend = try engine.backend(name)
            let opened = try openSource(stateDirectory: configuration.stateDirectory, engine.log)
            defer { opened.release() }
            let line = ProgressLine()
            defer { line.end() }
            let manifest = try engine.backUp(opened.image, as: disk, to: backend) {
                try interruption?.check()
                line.show("backup", $0, $1)
            }
            line.end()
            if json {
                StandardStream.output.write(manifest.json)
            } else {
                let facts = manifest.manifest
                StandardStream.output.write(
                    """
                    backup      \(facts.identifier)
                    raw         \(readableSize(facts.rawByteCount)), sha256 \(facts.rawSHA256)
                    archive     \(readableSize(facts.archiveByteCount)), sha256 \(facts.archiveSHA256)
                    consistency \(facts.consistency)

                    """)
            }
        }
    }

    private func openSource(stateDirectory: String, _ log: Logger) throws -> OpenedSource {
        let opener = SourceOpener(
            source, format: format, method: consistency ?? .auto, isRequired: requireConsistency,
            stateDirectory: stateDirectory, log: log)
        return try opener.open { text in
            // Who asks for nothing gets what there is, and the report says what that was.
            if consistency != nil || !text.hasPrefix(Moments.noMoment) {
                StandardStream.error.write("notice: \(text)\n")
            }
        }
    }

    /// A guest cannot be read without a moment; all else is read as it is.
    private func openDry() throws -> OpenedSource {
        if GuestDrive.isURI(source) {
            return try openSource(
                stateDirectory: Configuration.load(path: common.config).stateDirectory,
                Logger(label: "holdfast") { _ in
                    LineLogHandler(descriptor: StandardStream.error.rawValue, level: .warning, showsTime: false)
                })
        }
        return OpenedSource(
            try BlockSource.open(source, format: format) { StandardStream.error.write("notice: \($0)\n") })
    }

    private func runDry(_ interruption: Interruption?) throws {
        _ = try DiskName(org: ResourceName(org), vm: ResourceName(vm), disk: ResourceName(disk))
        let opened = try openDry()
        defer { opened.release() }
        let line = ProgressLine()
        defer { line.end() }
        let reading = try opened.image.readThrough {
            try interruption?.check()
            line.show("read", $0, $1)
        }
        line.end()
        if json {
            try printJSON(DryRunReport(source: source, reading))
        } else {
            let seconds = Double(reading.milliseconds) / 1000
            let rate = readableSize(UInt64(Double(reading.dataByteCount) / max(0.001, seconds)))
            StandardStream.output.write(
                """
                source      \(source)
                raw         \(readableSize(reading.rawByteCount))
                read        \(readableSize(reading.dataByteCount)) in \(seconds) s, \(rate)/s
                stored      nothing

                """)
        }
    }
}

/// The wish of a user, or of the system, that a command ends in good order (SIGINT, SIGTERM, SIGHUP). The second is an order.
private final class Interruption: Sendable {
    private let isWished = Atomic(false)

    init() {
        EndingSignals().setHandler { [self] signal in
            if isWished.exchange(true, ordering: .relaxed) { _exit(128 + signal) }
        }
    }

    func check() throws(EngineError) {
        if isWished.load(ordering: .relaxed) { throw EngineError(.cancelled, "interrupted: nothing is stored") }
    }
}

/// What a dry run prints as JSON.
private struct DryRunReport: Encodable {
    let source: String
    let rawBytes: UInt64
    let dataBytes: UInt64
    let milliseconds: Int64

    init(source: String, _ reading: SourceReading) {
        self.source = source
        (rawBytes, dataBytes, milliseconds) = (reading.rawByteCount, reading.dataByteCount, reading.milliseconds)
    }
}

extension ImageFormat: ExpressibleByArgument {}
extension MomentMethod: ExpressibleByArgument {}

extension Configuration {
    /// The org's own backend, or the only one there is.
    func defaultBackend(of org: ResourceName) throws -> ResourceName {
        if let own = orgs.first(where: { $0.name == org })?.backend { return own }
        guard let first = backends.first, backends.count == 1 else {
            throw EngineError(
                .invalidName, "several backends are configured; say which",
                hint: "--backend " + backends.map(\.name.description).joined(separator: "|"))
        }
        return first.name
    }
}
