internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import CryptoPrimitives
internal import Manifest

struct ArchiveImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Register an archive that lies at a backend already: what `zstd | age` wrote, or one of holdfast's.",
        discussion: """
            All of the object is read once, for its size and hashes. It stays where it is; a sidecar is put where the backup's \
            name says. One that a shell pipeline made has no seek table: it is verified and restored like any other, and read \
            at random through an encrypted local copy, which the mount makes when its image is opened.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The object's key, below the backend's prefix.") var object: String
    @Option(help: "The org that owns the backup, and whose key opens it.") var org: String
    @Option(help: "The machine.") var vm: String
    @Option(help: "When it was made, UTC: 2026-11-20T02-00-00Z.") var date: String
    @Option(help: "The disk of the machine.") var disk = "disk"
    @Option(help: "The backend; needed where several are configured and the org has none set.") var backend: String?
    @Flag(help: "Print the manifest as JSON.") var json = false

    func run() throws {
        try common.withEngine { engine, configuration in
            let org = try ResourceName(org)
            let disk = try DiskName(org: org, vm: ResourceName(vm), disk: ResourceName(disk))
            let name = try backend.map { try ResourceName($0) } ?? configuration.defaultBackend(of: org)
            let line = ProgressLine()
            defer { line.end() }
            let manifest = try engine.importArchive(
                object, as: disk, of: BackupDate(date), at: engine.backend(name)
            ) { line.show("import", $0, $1) }
            line.end()
            guard !json else { return StandardStream.output.write(manifest.json) }
            let facts = manifest.manifest
            StandardStream.output.write(
                """
                imported    \(object) as \(facts.identifier)
                raw         \(readableSize(facts.rawByteCount)), sha256 \(facts.rawSHA256)
                archive     \(readableSize(facts.archiveByteCount)), sha256 \(facts.archiveSHA256)
                frames      \(facts.isForeign ? "none: a local copy is made when it is read at random" : "as it has them")

                """)
        }
    }
}
