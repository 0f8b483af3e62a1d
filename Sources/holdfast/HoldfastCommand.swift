internal import ArgumentParser
internal import BackupEngine
internal import Glibc
internal import SystemIO

@main
struct HoldfastCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "Backups of whole disks as plain files: encrypted, compressed, readable at random.",
        discussion: """
            A backup is named [BACKEND:]ORG/VM/DATE[/DISK]. DATE may be `latest`; DISK is `disk` unless said otherwise.

            Exit codes: 0 success; 1 any other failure; 3 no such backup; 4 key missing, wrong, unsafe or still needed; 5 damaged, cut, \
            swapped or not authentic; 6 backend unreachable, full or refusing; 7 source or image not usable; 8 target not \
            usable; 9 catalog; 10 configuration; 11 mount; 12 busy, or the name is taken; 13 restored, but not all of it \
            (--salvage); 14 kept: held, locked by its store, or too much would go at once (prune); 20 something is overdue (status); 21 a check or \
            drill found something wrong; 64 wrong usage.
            """,
        version: Engine.toolVersion,
        subcommands: [
            MountCommand.self, BackupCommand.self, RestoreCommand.self, ListCommand.self, ShowCommand.self,
            VerifyCommand.self, DrillCommand.self, StatusCommand.self, KeysCommand.self, BackendCommand.self,
            CatalogCommand.self, HoldCommand.self, PruneCommand.self, SnapshotCommand.self, AgentCommand.self,
            UsageCommand.self, ArchiveCommand.self, WarmupCommand.self,
        ])

    /// Parses, runs, and turns an error into its lines on standard error and its exit code.
    static func main() {
        // A reader that goes away (`holdfast list | head`) is an error of the write, not a signal.
        signal(SIGPIPE, SIG_IGN)
        do {
            // Before anything is read that could be a secret.
            ProcessMemory.returnWhatIsFreed()
            try ProcessHardening.apply()
            var command = try parseAsRoot()
            try command.run()
            StandardStream.output.finish()
        } catch {
            ErrorReport(error).map { report in
                report.print()
                Glibc.exit(report.exitCode)
            }
            exit(withError: error)
        }
    }
}
