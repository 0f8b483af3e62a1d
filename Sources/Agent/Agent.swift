package import BackupEngine
package import BackupNames
internal import Catalog
internal import Logging
internal import Retention
internal import Storage
internal import Synchronization

/// Takes the backups that are due, checks them, and removes what retention drops. It keeps no time of its own: whoever owns it asks
/// for a plan, begins runs, and performs them, each on a thread that may block.
///
/// | state of a run | catalog | among hosts | its process ends here: the next start |
/// |---|---|---|---|
/// | begun | a row of `backup_run`, running | leases of the disk and of places, where hosts share the work | the row becomes `interrupted`; the leases expire |
/// | source open | the same | the same | what the source needed is undone by its own journal |
/// | backing up | that, and the journal of uploads | the same | the upload is aborted |
/// | registered | that, and the backup | the same | the backup stands, and counts once it was looked at |
/// | checked | the same | the same | the same |
/// | ended | the row with its outcome | none | |
///
/// One agent at a time works with a catalog: a lease in it, which ends with its process. A run that fails is written down with the code
/// of what went wrong, and tried again as `RunDecision` says. One that is cancelled, for the agent ends or a lease was lost, is no
/// failure of the disk.
package final class Agent: Sendable {
    private struct State {
        var running: [DiskName: ResourceName] = [:]
        var histories: [DiskName: RunHistory] = [:]
        var targets: [ResourceName: Int] = [:]
        var count: UInt64 = 0
    }

    /// The lease in the catalog is the owner's as long as it lives; beyond a boot it ends by time.
    private static let leaseSeconds: Int64 = 366 * 86_400
    /// How long a lease among hosts lasts unless it is renewed.
    package static let fleetLeaseSeconds: Int64 = 1800
    /// Runs that count for the spread of `random`.
    private static let recentSeconds: Int64 = 30 * 86_400

    package let engine: Engine
    package let disks: [AutomaticDisk]
    package let settings: AgentSettings
    private let byName: [DiskName: AutomaticDisk]
    private let fleet: FleetLeases?
    private let owner: ProcessIdentity
    private let state = Mutex(State())

    /// Takes the catalog's lease; `.busy` where another agent has it. Writes down what became of an earlier one's runs.
    ///
    /// - Parameter shared: the backend at which hosts agree who does what; nil: this one is alone.
    package init(
        _ engine: Engine, _ disks: [AutomaticDisk], _ settings: AgentSettings = AgentSettings(),
        sharing shared: Backend? = nil, owner: ProcessIdentity = .current,
        isAlive: @escaping @Sendable (ProcessIdentity) -> Bool = { $0.isAlive }
    ) throws(EngineError) {
        self.engine = engine
        self.disks = disks
        self.settings = settings
        self.owner = owner
        byName = Dictionary(disks.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        fleet = shared.map { FleetLeases(engine, at: $0) }
        do {
            let now = engine.clock.secondsSince1970
            let holder = try engine.catalog.takeLease(lease(until: now + Self.leaseSeconds), now: now) { held in
                isAlive(
                    ProcessIdentity(
                        process: held.ownerProcess, startTicks: held.ownerStartTicks,
                        bootIdentifier: held.ownerBootIdentifier))
            }
            if let holder {
                throw EngineError(.busy, "another agent, process \(holder.ownerProcess), works with this catalog")
            }
            for var run in try engine.catalog.runningBackupRuns() {
                run.outcome = BackupRunRecord.interrupted
                run.detail = "its process ended"
                run.endedAt = now
                try engine.catalog.endRun(run)
            }
            try reload()
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }

    /// Gives the catalog's lease back. Nothing may run any more.
    package func close() {
        do throws(CatalogError) {
            try engine.catalog.endLease(lease(until: 0))
        } catch {
            engine.log.warning("the agent's lease is left in the catalog: \(error)")
        }
    }

    private func lease(until end: Int64) -> LeaseRecord {
        LeaseRecord(
            name: "agent", expiresAt: end, ownerProcess: owner.process, ownerStartTicks: owner.startTicks,
            ownerBootIdentifier: owner.bootIdentifier)
    }

    // MARK: Planning

    /// Reads anew what the catalog knows of the disks: other hosts may have made backups of them.
    package func reload() throws(EngineError) {
        do {
            var histories: [DiskName: RunHistory] = [:]
            for disk in disks { histories[disk.name] = try history(of: disk.name) }
            let since = engine.clock.secondsSince1970 - Self.recentSeconds
            let recent = try engine.catalog.backupRuns().filter { $0.isGood && $0.startedAt > since }
            let targets = Dictionary(grouping: recent, by: \.place).mapValues(\.count)
            state.withLock { state in
                state.histories = histories
                state.targets = targets
            }
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }

    /// A backup at a DR backend counts that no check has found anything wrong with, whoever made it.
    private func history(of disk: DiskName) throws -> RunHistory {
        let runs = try engine.catalog.backupRuns(of: disk, limit: 100).filter { $0.kind == .backup && !$0.isRunning }
        let starts = Dictionary(
            runs.compactMap { run in run.date.map { ($0, run.startedAt) } }, uniquingKeysWith: { first, _ in first })
        let good = try engine.catalog.backups(of: disk).filter { backup in
            try engine.backends[backup.identifier.backend]?.isDisasterRecovery == true
                && BackupHealth.finding(engine.catalog.checks(backup.identifier)) == nil
        }
        // A run belongs to the window in which it began, not to that in which its source was ready.
        let lastGood = good.map { starts[$0.identifier.date] ?? $0.createdAt }.max()
        let failed = runs.prefix { !$0.isGood }.filter { $0.outcome != EngineError.Code.cancelled.rawValue }
        return RunHistory(
            lastGoodAt: lastGood, lastFailedAt: failed.first.flatMap { $0.endedAt ?? $0.startedAt },
            failureCount: failed.count)
    }

    package func plan() -> AgentPlan {
        let now = engine.clock.secondsSince1970
        let (running, histories, recent, count) = state.withLock { state in
            state.count += 1
            return (state.running, state.histories, state.targets, state.count)
        }
        var windows: [BackupWindow: BackupWindow.State] = [:]
        let candidates = disks.map { disk in
            let history = histories[disk.name] ?? RunHistory()
            let window = windows[disk.window] ?? disk.window.state(at: now)
            windows[disk.window] = window
            return AgentPlan.Candidate(
                disk: disk.name,
                decision: RunDecision.decide(
                    policy: disk.policy, window: disk.window, window, history: history, seed: disk.seed, now: now),
                lastGoodAt: history.lastGoodAt, targets: disk.targets)
        }
        let targets = engine.backends.values.map { backend in
            let underWay = running.values.count { $0 == backend.name }
            return AgentPlan.Target(
                name: backend.name, isAvailable: backend.store.condition.isThere, runningCount: underWay,
                recentRunCount: (recent[backend.name] ?? 0) + underWay)
        }
        return AgentPlan(
            candidates, running: Set(running.keys), targets: targets, limits: settings.limits,
            seed: UInt64(bitPattern: now) &* 31 &+ count)
    }

    package var runningDisks: [DiskName: ResourceName] { state.withLock { $0.running } }

    // MARK: Runs

    /// Claims a disk, and places among the hosts. nil where another host has it, or has all places.
    package func begin(_ start: AgentPlan.Start) throws(EngineError) -> AgentRun? {
        guard let disk = byName[start.disk] else { preconditionFailure("internal error: a run of an unknown disk") }
        let isFree = state.withLock { state in
            guard state.running[start.disk] == nil else { return false }
            state.running[start.disk] = start.target
            return true
        }
        guard isFree else { return nil }
        var leases: [FleetLease] = []
        do {
            if let fleet {
                guard let own = try claims(start, fleet) else {
                    state.withLock { $0.running[start.disk] = nil }
                    return nil
                }
                leases = own
                // Another host may have backed it up since the last look.
                if try engine.refresh(start.disk) {
                    let history = try history(of: start.disk)
                    state.withLock { $0.histories[start.disk] = history }
                    let decision = RunDecision.decide(
                        policy: disk.policy, window: disk.window, history: history, seed: disk.seed,
                        now: engine.clock.secondsSince1970)
                    guard case .due = decision else {
                        for lease in leases { lease.end() }
                        state.withLock { $0.running[start.disk] = nil }
                        return nil
                    }
                }
            }
            var record = BackupRunRecord(
                kind: .backup, disk: start.disk, place: start.target, startedAt: engine.clock.secondsSince1970,
                catchesUp: start.catchesUp, ownerProcess: owner.process, ownerStartTicks: owner.startTicks,
                ownerBootIdentifier: owner.bootIdentifier)
            record.id = try engine.catalog.beginRun(record)
            return AgentRun(self, disk, record, leases)
        } catch {
            for lease in leases { lease.end() }
            state.withLock { $0.running[start.disk] = nil }
            throw EngineError(error, subject: "a run of \(start.disk)")
        }
    }

    /// The disk, one of the places of its backend, and one of all: in this order everywhere.
    private func claims(_ start: AgentPlan.Start, _ fleet: FleetLeases) throws -> [FleetLease]? {
        let disk = start.disk
        let wanted = [
            ["disk/\(disk.org)/\(disk.vm)/\(disk.disk)"],
            (0..<settings.limits.perTarget).map { "place/\(start.target)/\($0)" },
            (0..<settings.limits.overall).map { "place-of-all/\($0)" },
        ]
        var leases: [FleetLease] = []
        do {
            for names in wanted {
                var taken: FleetLease?
                for name in names where taken == nil { taken = try fleet.take(name, seconds: Self.fleetLeaseSeconds) }
                guard let taken else {
                    for lease in leases { lease.end() }
                    return nil
                }
                leases.append(taken)
            }
            return leases
        } catch {
            for lease in leases { lease.end() }
            throw error
        }
    }

    func ended(_ record: BackupRunRecord) {
        var record = record
        record.endedAt = engine.clock.secondsSince1970
        do {
            try engine.catalog.endRun(record)
            let history = try history(of: record.disk)
            state.withLock { $0.histories[record.disk] = history }
        } catch {
            engine.log.error("the run of \(record.disk) cannot be written down: \(error)")
        }
        state.withLock { state in
            state.running[record.disk] = nil
            if record.isGood { state.targets[record.place, default: 0] += 1 }
        }
    }

    /// Removes what retention drops of a disk. What keeps it from being removed is told in the log; the next run tries again.
    func prune(_ disk: AutomaticDisk, isStopped: () -> Bool) {
        do throws(EngineError) {
            let plans = try engine.prunePlans(
                { $0 == disk.name ? (disk.policy, disk.window.timeZone) : nil }, isStopped: isStopped)
            let outcomes = try engine.prune(
                plans, maximumShare: settings.pruneShare, isForced: false, isStopped: isStopped)
            for outcome in outcomes {
                if let error = outcome.error {
                    engine.log.warning("\(outcome.backup.identifier) is not removed: \(error)")
                }
            }
        } catch {
            engine.log.warning("\(disk.name): retention is not carried out: \(error)")
        }
    }
}
