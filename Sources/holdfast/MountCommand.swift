internal import ArgumentParser
internal import BackupEngine
internal import Configuration
internal import Daemon
internal import Foundation
internal import Logging
internal import Storage

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount",
        abstract: "Mount all backends as a tree of plain files.",
        discussion: """
            Goes to the background once reads are answered; `umount DIR` or SIGTERM ends it. Also works as \
            `mount -t fuse.holdfast CONFIG DIR` and from /etc/fstab.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The configuration file, or - for the usual one.") var file: String
    @Argument(help: "An empty folder to mount on.") var directory: String
    @Option(name: .short, help: "Mount options, such as ro,allow_other,uid=1000,gid=1000,umask=022,record=TRACE.")
    var options: [String] = []
    @Flag(name: .shortAndLong, help: "Stay in the foreground; speaks systemd's notify protocol.") var foreground = false

    func run() throws {
        let configuration = try Configuration.load(path: file == "-" ? common.config : file)
        let options = try MountOptions(parsing: options)
        let mountpoint = try Mountpoint.check(directory)
        if !BackgroundStart.isChild {
            warnOfOwners(configuration, options)
            try check(configuration)
        }
        if !foreground, !BackgroundStart.isChild {
            return try startInBackground(configuration, mountpoint)
        }
        let signals = EndingSignals()
        let log = Logger(label: "holdfast") { _ in
            LineLogHandler(
                descriptor: StandardStream.error.rawValue, level: .info,
                showsTime: ProcessInfo.processInfo.environment["JOURNAL_STREAM"] == nil)
        }
        let engine = try Composition.engine(configuration, usesRangeCache: true, log: log)
        let snapshots = Composition.snapshots(configuration, engine)
        try MountDaemon.run(engine, snapshots, at: mountpoint, options: options, signals: signals) {
            BackgroundStart.reportReady()
            ServiceManager.notify("READY=1")
            log.info("mounted at \(mountpoint)")
        }
        ServiceManager.notify("STOPPING=1")
    }

    /// Only its own user gets into a mount without `allow_other`, whatever the configuration says of others.
    private func warnOfOwners(_ configuration: Configuration, _ options: MountOptions) {
        guard !options.kernelOptions.contains("allow_other"),
            let org = configuration.orgs.first(where: { $0.access != nil })?.name
        else { return }
        StandardStream.error.write(
            "warning: org \"\(org)\" has an owner, who does not get into the mount without -o allow_other\n")
    }

    /// Looks at the catalog. Then says what is wrong with the backends, which keeps nothing from being mounted as long as one of them could work: what is
    /// away may come back, and the others are needed now.
    private func check(_ configuration: Configuration) throws {
        let log = Logger(label: "holdfast") { _ in
            LineLogHandler(descriptor: StandardStream.error.rawValue, level: .warning, showsTime: false)
        }
        do {
            let repair = try Composition.checkCatalog(configuration, repairs: true, log: log)
            for line in repair?.report ?? [] { log.error("\(line)") }
        } catch {
            // What opens is better than nothing, for every row is proven before it is used; the mount tries again.
            ErrorReport(error)?.print()
        }
        let engine = try Composition.engine(configuration, log: log)
        defer { engine.close() }
        let reports = engine.checkBackends()
        let errors = reports.compactMap { report in
            report.problem.map { EngineError($0, subject: "backend \"\(report.backend.name)\"") }
        }
        let isHopeless = reports.allSatisfy { $0.problem.map { !$0.code.mayPassByItself } ?? false }
        for error in isHopeless ? errors.dropFirst() : errors[...] { ErrorReport(error)?.print() }
        if isHopeless, let first = errors.first { throw first }
    }

    /// The child gets absolute paths, for it leaves this folder.
    private func startInBackground(_ configuration: Configuration, _ mountpoint: String) throws {
        var arguments = ["holdfast", "mount"]
        if let config = common.config { arguments += ["--config", absolute(config)] }
        arguments += [file == "-" ? "-" : absolute(file), mountpoint]
        for list in options {
            // The path of a trace too: the child is in another folder.
            let words = list.split(separator: ",").map { option in
                option.hasPrefix("record=") ? "record=" + absolute(String(option.dropFirst(7))) : String(option)
            }
            arguments += ["-o", words.joined(separator: ",")]
        }
        try Composition.makeStateDirectory(configuration)
        try BackgroundStart.run(arguments: arguments, logPath: configuration.stateDirectory + "/holdfast.log")
    }

    private func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    }
}
