package import BackupEngine
internal import BackupNames
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
    /// What is known of one disk.
    private struct Standing {
        var history = DiskHistory()
        /// Where a run of it goes that is under way.
        var runsAt: ResourceName?
        /// A decision to wait, which holds until its time unless the history changes or the clock is set back.
        var wait: (decidedAt: Int64, until: Int64)?
    }

    private struct State {
        /// One for each of the disks, in their order.
        var disks: [Standing]
        var targets: [ResourceName: Int] = [:]
        var planCount: UInt64 = 0
        var changeCount: UInt64 = 0

        mutating func set(_ history: DiskHistory, of index: Int) {
            changeCount += 1
            disks[index].history = history
            disks[index].wait = nil
        }
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
    private let indices: [DiskName: Int]
    private let fleet: FleetLeases?
    private let owner: ProcessIdentity
    private let state: Mutex<State>

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
        indices = Dictionary(disks.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
        precondition(indices.count == disks.count, "internal error: a disk that is named twice")
        state = Mutex(State(disks: Array(repeating: Standing(), count: disks.count)))
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
                if run.kind == .backup { lookAtUnchecked(run.disk) }
            }
            try reload()
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }

    /// A run that ended between the backup and its check has left one that counts for no retention.
    private func lookAtUnchecked(_ disk: DiskName) {
        do {
            for backup in try engine.retainedBackups(of: disk)
            where try engine.catalog.checks(backup.identifier).isEmpty {
                _ = try engine.check(backup.identifier, .presence)
            }
        } catch {
            engine.log.warning("a backup of \(disk) stays unchecked: \(error)")
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
            while true {
                // A run that ends meanwhile has the newer word.
                let seen = state.withLock { $0.changeCount }
                let histories = try disks.map { try engine.history(of: $0.name) }
                let since = engine.clock.secondsSince1970 - Self.recentSeconds
                // Those that failed, too: a backend that fails is not to get all of them.
                let recent = try engine.catalog.backupRuns().filter { $0.kind == .backup && $0.startedAt > since }
                let targets = Dictionary(grouping: recent, by: \.place).mapValues(\.count)
                let isCurrent = state.withLock { state in
                    guard state.changeCount == seen else { return false }
                    for (index, history) in histories.enumerated() {
                        state.disks[index].history = history
                        state.disks[index].wait = nil
                    }
                    state.targets = targets
                    return true
                }
                if isCurrent { return }
            }
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }

    /// Differs when something became known of a disk's backups and runs: a plan that was made before is out of date.
    package var changeCount: UInt64 { state.withLock { $0.changeCount } }

    /// Thousands of disks that wait cost next to nothing.
    package func plan() -> AgentPlan {
        let now = engine.clock.secondsSince1970
        return state.withLock { state in
            state.planCount += 1
            var windows: [BackupWindow: BackupWindow.State] = [:]
            var candidates: [AgentPlan.Candidate] = []
            var wakesAt: Int64?
            for index in disks.indices where state.disks[index].runsAt == nil {
                if let wait = state.disks[index].wait, wait.decidedAt <= now, now < wait.until {
                    wakesAt = min(wakesAt ?? wait.until, wait.until)
                    continue
                }
                let disk = disks[index]
                let window = windows[disk.window] ?? disk.window.state(at: now)
                windows[disk.window] = window
                let history = state.disks[index].history
                let decision = RunDecision.decide(
                    policy: disk.policy, window: disk.window, window, history: history.runs, seed: disk.seed, now: now)
                if case .waits(let until, _) = decision { state.disks[index].wait = (now, until) }
                candidates.append(
                    AgentPlan.Candidate(
                        disk: disk.name, decision: decision, lastGoodAt: history.runs.lastGoodAt,
                        targets: disk.targets, failedTarget: history.failedPlace))
            }
            let running = state.disks.compactMap(\.runsAt)
            return AgentPlan(
                candidates, runningCount: running.count, targets: targets(running, state.targets),
                limits: settings.limits, seed: UInt64(bitPattern: now) &* 31 &+ state.planCount, wakesAt: wakesAt)
        }
    }

    private func targets(_ running: [ResourceName], _ recent: [ResourceName: Int]) -> [AgentPlan.Target] {
        engine.backends.values.map { backend in
            let underWay = running.count { $0 == backend.name }
            return AgentPlan.Target(
                name: backend.name, isAvailable: backend.store.condition.isThere, runningCount: underWay,
                recentRunCount: (recent[backend.name] ?? 0) + underWay)
        }
    }

    // MARK: Runs

    /// Claims a disk, and places among the hosts. nil where another host has it, or has all places.
    package func begin(_ start: AgentPlan.Start) throws(EngineError) -> AgentRun? {
        guard let index = indices[start.disk] else { preconditionFailure("internal error: a run of an unknown disk") }
        let disk = disks[index]
        let isFree = state.withLock { state in
            guard state.disks[index].runsAt == nil else { return false }
            state.disks[index].runsAt = start.target
            return true
        }
        guard isFree else { return nil }
        var leases: [FleetLease] = []
        do {
            if let fleet {
                guard let own = try claims(start, fleet) else {
                    state.withLock { $0.disks[index].runsAt = nil }
                    return nil
                }
                leases = own
                // Another host may have backed it up since the last look.
                if try engine.refresh(start.disk) {
                    let history = try engine.history(of: start.disk)
                    state.withLock { $0.set(history, of: index) }
                    let decision = RunDecision.decide(
                        policy: disk.policy, window: disk.window, history: history.runs, seed: disk.seed,
                        now: engine.clock.secondsSince1970)
                    guard case .due = decision else {
                        for lease in leases { lease.end() }
                        state.withLock { $0.disks[index].runsAt = nil }
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
            state.withLock { $0.disks[index].runsAt = nil }
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
        guard let index = indices[record.disk] else {
            preconditionFailure("internal error: an unknown disk's run ends")
        }
        var record = record
        record.endedAt = engine.clock.secondsSince1970
        do {
            try engine.catalog.endRun(record)
            let history = try engine.history(of: record.disk)
            state.withLock { $0.set(history, of: index) }
        } catch {
            engine.log.error("the run of \(record.disk) cannot be written down: \(error)")
        }
        state.withLock { state in
            state.disks[index].runsAt = nil
            state.targets[record.place, default: 0] += 1
        }
    }

    /// Removes what retention drops of a disk. What keeps it from being removed is told in the log; the next run tries again.
    func prune(_ disk: AutomaticDisk, isStopped: () -> Bool) {
        do throws(EngineError) {
            let plan = try engine.prunePlan(
                of: disk.name, disk.policy, in: disk.window.timeZone, isStopped: isStopped)
            let outcomes = try engine.prune(
                [plan], maximumShare: settings.pruneShare, isForced: false, isStopped: isStopped)
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
