internal import Agent
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import Foundation
internal import Logging
internal import Retention
internal import Snapshots

struct AgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent", abstract: "Take the automatic backups and snapshots that the configuration asks for.",
        discussion: """
            Which disks, when, and how many are kept is said by [orgs.NAME.auto], its vms and disks; how many at once by [agent]. \
            Backups go to DR backends alone. Without a verb it runs until it is told to end (SIGTERM), which gives up what is under \
            way; contrib/systemd has a unit. One agent at a time works with a catalog; hosts that share a backend agree at the one \
            named by [agent] shared.

            Snapshots (in-cluster copies, not backups) are made as [pools.NAME] every and keep say, one after the other. They need \
            no DR backend.
            """,
        subcommands: [AgentRunCommand.self, AgentPlanCommand.self, AgentRunsCommand.self],
        defaultSubcommand: AgentRunCommand.self)
}

struct AgentRunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Take backups as they become due. This is what is done without a verb.",
        discussion: """
            With --once it takes what is due now, a few at a time, and ends: for a timer. What is due only later in its window is left \
            to the next time. Exit code: 0, or that of the first run that failed.
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "Take what is due now, and end.") var once = false

    func run() throws {
        let configuration = try Configuration.load(path: common.config)
        let signals = EndingSignals()
        let log = Logger(label: "holdfast") { _ in
            LineLogHandler(
                descriptor: StandardStream.error.rawValue, level: .info,
                showsTime: ProcessInfo.processInfo.environment["JOURNAL_STREAM"] == nil)
        }
        let disks = try configuration.automaticDisks(log)
        let engine = try Composition.engine(configuration, log: log)
        defer { engine.close() }
        let snapshots = Composition.snapshots(configuration, engine)
        let snapshotDisks = try configuration.snapshotDisks(snapshots, log)
        guard !disks.isEmpty || !snapshotDisks.isEmpty else {
            throw EngineError(
                .notFound, "no disk of the configuration is to be backed up automatically, or has snapshots made",
                hint: "give a disk a source, and it, its vm or its org a policy: see [orgs.NAME.auto], [pools.NAME]")
        }
        try engine.cleanUpAfterCrash()
        SourceOpener.cleanUpAfterCrash(stateDirectory: configuration.stateDirectory, log: log)
        snapshots.cleanUpAfterCrash()
        let agent = try Agent(engine, configuration, disks)
        defer { agent.close() }
        let snapshotAgent = SnapshotAgent(snapshots, snapshotDisks, clock: engine.clock, log: log)
        let service = AgentService(agent, snapshots: snapshotAgent) { isStopped in
            Self.care(engine, configuration, Set(disks.map(\.name)), isStopped)
        }
        signals.setHandler { received in
            log.notice("signal \(received): ending")
            service.stop()
        }
        if once {
            let results = try service.run(once: true)
            engine.copyCatalogBriefly()
            report(results)
            if let failed = results.first(where: { !$0.isGood }) {
                throw ExitCode(EngineError.Code(rawValue: failed.outcome).map(ErrorReport.exitCode) ?? 1)
            }
        } else {
            let care = CatalogCare(engine)
            care.start()
            ServiceManager.notify("READY=1")
            log.notice(
                "\(disks.count) disks are backed up automatically, of \(snapshotDisks.count) snapshots are made")
            _ = try service.run()
            ServiceManager.notify("STOPPING=1")
            care.stop(waitingMilliseconds: 5000)
        }
    }

    private func report(_ results: [BackupRunRecord]) {
        for run in results {
            let what =
                run.isGood ? "\(run.place):\(run.disk.org)/\(run.disk.vm)/\(run.date?.description ?? "-")" : run.detail
            let kind = run.kind == .snapshot ? "  (snapshot: \(SnapshotIdentifier.label))" : ""
            StandardStream.output.write("\(run.isGood ? "good  " : "failed")  \(run.disk)  \(what)\(kind)\n")
        }
        if results.isEmpty { StandardStream.output.write("nothing is due now\n") }
    }

    /// Locks that are about to run out; and retention of the disks that are not backed up here: backups made by hand, and machines that
    /// are no more.
    private static func care(
        _ engine: Engine, _ configuration: Configuration, _ own: Set<DiskName>, _ isStopped: () -> Bool
    ) {
        do throws(EngineError) {
            let locked = try engine.prunePlans(
                { disk in
                    configuration.locks(of: disk) == nil
                        ? nil : configuration.retention(of: disk).map { ($0.policy, $0.window.timeZone) }
                }, isStopped: isStopped)
            _ = engine.renewLocks(locked, configuration.locks, isStopped: isStopped)
            let plans = try engine.prunePlans(
                { disk in
                    own.contains(disk)
                        ? nil : configuration.retention(of: disk).map { ($0.policy, $0.window.timeZone) }
                }, isStopped: isStopped)
            let outcomes = try engine.prune(
                plans, maximumShare: configuration.agent.pruneShare, isForced: false, isStopped: isStopped)
            for outcome in outcomes {
                if let error = outcome.error {
                    engine.log.warning("\(outcome.backup.identifier) is not removed: \(error)")
                }
            }
        } catch {
            engine.log.warning("retention is not carried out: \(error)")
        }
    }
}

struct AgentPlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what the agent would do with each disk now, and where its backups go.")

    @OptionGroup var common: CommonOptions
    @Flag(help: "Print JSON.") var json = false

    private struct Line: Encodable {
        var kind = "backup"
        let disk: String
        let decision: String
        var until: String?
        let targets: [String]
        let last_good: String?
        let failures: Int
    }

    func run() throws {
        try common.withEngine { engine, configuration in
            let disks = try configuration.automaticDisks(engine.log)
            let backups = try AgentOutlook.list(engine, disks).map { outlook in
                var line = Line(
                    disk: "\(outlook.disk)", decision: outlook.decision.text,
                    targets: outlook.targets.map(\.description),
                    last_good: outlook.lastGoodAt.map { BackupDate(secondsSince1970: $0).description },
                    failures: outlook.failureCount)
                if case .waits(let until, _) = outlook.decision {
                    line.until = BackupDate(secondsSince1970: until).description
                }
                return line
            }
            let lines = try backups + snapshotLines(engine, configuration)
            if json { return try printJSON(lines) }
            printTable(
                ["DISK", "NOW", "UNTIL", "LAST GOOD RUN", "FAILURES", "WHERE"],
                lines.map {
                    [
                        $0.disk, $0.decision, $0.until ?? "-", $0.last_good ?? "none", "\($0.failures)",
                        $0.targets.joined(separator: ", ")
                            + ($0.kind == "backup" ? "" : " (snapshot: \(SnapshotIdentifier.label))"),
                    ]
                })
        }
    }

    private func snapshotLines(_ engine: Engine, _ configuration: Configuration) throws -> [Line] {
        let snapshots = Composition.snapshots(configuration, engine)
        let disks = try configuration.snapshotDisks(snapshots, engine.log)
        let agent = SnapshotAgent(snapshots, disks, clock: engine.clock, log: engine.log)
        return try agent.outlook().map { outlook in
            var line = Line(
                kind: "snapshot", disk: "\(outlook.disk)", decision: outlook.decision.text,
                targets: ["\(outlook.pool)"],
                last_good: outlook.lastGoodAt.map { BackupDate(secondsSince1970: $0).description },
                failures: outlook.failureCount)
            if case .waits(let until, _) = outlook.decision {
                line.until = BackupDate(secondsSince1970: until).description
            }
            return line
        }
    }
}

struct AgentRunsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "runs", abstract: "Show the agent's runs, the newest first.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only of this: ORG[/VM[/DISK]].") var pattern: String?
    @Option(help: "How many.") var limit = 50
    @Flag(help: "Print JSON.") var json = false

    private struct Line: Encodable {
        let kind: String
        let disk: String
        let place: String
        let started_at: String
        let ended_at: String?
        let outcome: String
        let detail: String
        let backup: String?
        let raw_bytes: UInt64
        let stored_bytes: UInt64
        let catches_up: Bool
    }

    func validate() throws {
        guard (1...10_000).contains(limit) else { throw ValidationError("--limit must be between 1 and 10000") }
    }

    func run() throws {
        try common.withEngine { engine, _ in
            let filter = try pattern.map { try ListFilter($0) }
            let runs = try engine.catalog.backupRuns().filter { filter?.matches($0.disk) ?? true }.prefix(limit)
            if json {
                return try printJSON(
                    runs.map { run in
                        Line(
                            kind: run.kind.rawValue, disk: "\(run.disk)", place: "\(run.place)",
                            started_at: BackupDate(secondsSince1970: run.startedAt).description,
                            ended_at: run.endedAt.map { BackupDate(secondsSince1970: $0).description },
                            outcome: run.outcome, detail: run.detail, backup: run.date?.description,
                            raw_bytes: run.rawByteCount, stored_bytes: run.storedByteCount,
                            catches_up: run.catchesUp)
                    })
            }
            printTable(
                ["STARTED", "TOOK", "DISK", "WHERE", "RAW", "STORED", "OUTCOME"],
                runs.map { run in
                    [
                        BackupDate(secondsSince1970: run.startedAt).description,
                        run.endedAt.map { readableAge($0 - run.startedAt) } ?? "-", "\(run.disk)",
                        run.kind == .snapshot ? "\(run.place) (\(SnapshotIdentifier.label))" : "\(run.place)",
                        run.isGood ? readableSize(run.rawByteCount) : "-",
                        run.isGood ? readableSize(run.storedByteCount) : "-",
                        run.detail.isEmpty ? run.outcome : "\(run.outcome): \(run.detail)",
                    ]
                })
        }
    }
}

extension RunDecision {
    /// For people.
    var text: String {
        switch self {
        case .off: "off"
        case .due(let catchesUp): catchesUp ? "due (one was missed)" : "due"
        case .waits(_, .done): "done"
        case .waits(_, .window): "waits for its window"
        case .waits(_, .moment): "waits for its moment"
        case .waits(_, .backOff): "waits after a failure"
        }
    }
}
