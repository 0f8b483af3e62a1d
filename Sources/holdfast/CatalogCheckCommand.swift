internal import ArgumentParser
internal import BackupEngine
internal import Configuration
internal import Daemon
internal import Logging

struct CatalogCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Look at the whole file of the catalog; with --repair, make a damaged one anew.",
        discussion: """
            A mount does so at its start, and once a day. The damaged file is kept as catalog.sqlite.damaged-DATE. The new one is made \
            of the copies of the catalog at the backends, the sidecars, and what can be read of the damaged one and is authentic.
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "Keep a damaged catalog under another name, and make a new one.") var repair = false

    func run() throws {
        let configuration = try Configuration.load(path: common.config)
        let log = Logger(label: "holdfast") { _ in
            LineLogHandler(descriptor: StandardStream.error.rawValue, level: .warning, showsTime: false)
        }
        guard let repair = try Composition.checkCatalog(configuration, repairs: repair, log: log) else {
            StandardStream.output.write("the catalog is sound\n")
            return
        }
        for line in repair.report { StandardStream.output.write(line + "\n") }
    }
}
