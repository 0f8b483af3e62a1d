internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import CryptoPrimitives
internal import Manifest

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Back up an image file, a block device, or standard input.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "A file, a block device, or - for standard input. Holes of a sparse file are not read.")
    var source: String
    @Option(help: "The org that owns the backup.") var org: String
    @Option(help: "The machine.") var vm: String
    @Option(help: "The disk of the machine.") var disk = "disk"
    @Option(help: "The backend; needed where several are configured and the org has none set.") var backend: String?
    @Flag(help: "Print the manifest as JSON.") var json = false

    func run() throws {
        try common.withEngine { engine, configuration in
            let org = try ResourceName(org)
            let disk = try DiskName(org: org, vm: ResourceName(vm), disk: ResourceName(disk))
            let name = try backend.map { try ResourceName($0) } ?? configuration.defaultBackend(of: org)
            try engine.cleanUpAfterCrash(only: name)
            let line = ProgressLine()
            defer { line.end() }
            let manifest = try engine.backUp(BackupSource(path: source), as: disk, to: engine.backend(name)) {
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
}

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
