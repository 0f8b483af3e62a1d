internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Configuration
internal import CryptoPrimitives
internal import Manifest

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Back up an image, a block device, an NBD export, or standard input.",
        discussion: """
            What is known to be a hole is not read: in a sparse file, a qcow2, vmdk, vdi or vhdx image, or where an NBD server says so.
            With --format auto an image is of the format that both its name and its first bytes say, else raw: the bytes alone \
            never decide, for the guest writes those of a raw image. Formats are read through qemu-nbd.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(
        help:
            "A file, a block device, nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or - for standard input."
    )
    var source: String
    @Option(help: "The org that owns the backup.") var org: String
    @Option(help: "The machine.") var vm: String
    @Option(help: "The disk of the machine.") var disk = "disk"
    @Option(help: "The backend; needed where several are configured and the org has none set.") var backend: String?
    @Option(help: "The format of an image file: auto, raw, qcow2, vmdk, vdi or vhdx.") var format = ImageFormat.auto
    @Flag(help: "Read the source to its end and say how fast that went; store nothing.") var dryRun = false
    @Flag(help: "Print the manifest as JSON.") var json = false

    func run() throws {
        if dryRun { return try runDry() }
        try common.withEngine(changesCatalog: true) { engine, configuration in
            let org = try ResourceName(org)
            let disk = try DiskName(org: org, vm: ResourceName(vm), disk: ResourceName(disk))
            let name = try backend.map { try ResourceName($0) } ?? configuration.defaultBackend(of: org)
            try engine.cleanUpAfterCrash(only: name)
            let backend = try engine.backend(name)
            let image = try openSource()
            let line = ProgressLine()
            defer { line.end() }
            let manifest = try engine.backUp(image, as: disk, to: backend) {
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

                    """)
            }
        }
    }

    private func openSource() throws -> any ImageSource {
        try BlockSource.open(source, format: format) { StandardStream.error.write("notice: \($0)\n") }
    }

    private func runDry() throws {
        _ = try DiskName(org: ResourceName(org), vm: ResourceName(vm), disk: ResourceName(disk))
        let image = try openSource()
        let line = ProgressLine()
        defer { line.end() }
        let reading = try image.readThrough { line.show("read", $0, $1) }
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
