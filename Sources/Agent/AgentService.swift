package import BackupEngine
package import Catalog
internal import Logging
internal import Workers

/// An agent that goes on by itself.
///
/// | thread | what it does | its end |
/// |---|---|---|
/// | of `run` | plans, begins runs, waits for the next moment, for a run's end, or to be stopped | when all others have ended |
/// | one for each run | performs it | the run's; one that is told to stop gives its upload up |
/// | leases | renews those of the runs, three times in their length | told to stop |
/// | snapshots | makes those that are due, one after the other | when it has ended the one under way; one that is told to stop is given up |
/// | care | once a day: locks that run out, retention of disks that nobody backs up here | told to stop |
///
/// It begins nothing outside a window, and ends nothing because a window does. The wall clock is looked at once a minute at least, so
/// that one that was set is noticed.
package final class AgentService: Sendable {
    private struct State {
        var isStopped = false
        var running: [Int64: AgentRun] = [:]
        /// Of a service that runs once; one that goes on for years keeps none, for the catalog has them.
        var ended: [BackupRunRecord]?
        /// The same of snapshots.
        var endedSnapshots: [BackupRunRecord] = []
        var snapshotFailure: EngineError?
        /// Runs that ended, ever.
        var endCount = 0
    }

    private static let longestWaitSeconds: Int64 = 60
    private static let reloadSeconds: Int64 = 300
    private static let careSeconds: Int64 = 86_400
    /// After the catalog could not be written.
    private static let troubleSeconds: Int64 = 60

    private let agent: Agent
    private let snapshots: SnapshotAgent?
    private let care: (@Sendable (_ isStopped: () -> Bool) -> Void)?
    private let state = Monitor(State())

    /// - Parameters:
    ///   - snapshots: makes snapshots beside the backups.
    ///   - care: what is done once a day beside the runs.
    package init(
        _ agent: Agent, snapshots: SnapshotAgent? = nil, care: (@Sendable (_ isStopped: () -> Bool) -> Void)? = nil
    ) {
        self.agent = agent
        self.snapshots = snapshots
        self.care = care
    }

    /// Begins nothing more, and tells the runs under way to give up. Any thread, any number of times.
    package func stop() {
        state.withLock { $0.isStopped = true }
    }

    private var isStopped: Bool { state.withLockQuietly { $0.isStopped } }

    /// Runs until it is stopped; with `once` until nothing is due that can be begun, and gives the runs that it made.
    package func run(once: Bool = false) throws(EngineError) -> [BackupRunRecord] {
        if once { state.withLock { $0.ended = [] } }
        let leases = NativeThread(name: "leases") { [self] in renewLeases() }
        let snapshooter = snapshots.map { snapshots in
            NativeThread(name: "snapshots") { [self] in
                if once { takeSnapshotsOnce(snapshots) } else { takeSnapshots(snapshots) }
            }
        }
        let carer = NativeThread(name: "care") { [self] in if !once { careDaily() } }
        var failure: EngineError?
        do {
            if once { try runOnce() } else { try runOn() }
        } catch {
            failure = EngineError(error, subject: "agent")
        }
        // What is under way goes on to its end, unless somebody stops it.
        state.wait { $0.running.isEmpty ? () : nil }
        if once { snapshooter?.join() }
        if once, !isStopped { care? { [self] in isStopped } }
        stop()
        leases.join()
        carer.join()
        if !once { snapshooter?.join() }
        if let failure = failure ?? state.withLock({ $0.snapshotFailure }) { throw failure }
        return state.withLock { ($0.ended ?? []) + $0.endedSnapshots }
    }

    private func runOnce() throws {
        while !isStopped {
            let seen = state.withLock { $0.endCount }
            let known = agent.changeCount
            let plan = agent.plan()
            let begun = try begin(plan)
            // Others had made some of these already: more may be due behind them.
            if agent.changeCount != known { continue }
            // What others have, or nobody can reach, is left to the next time.
            if begun == 0, state.withLock({ $0.running.isEmpty && $0.endCount == seen }) { return }
            state.wait { $0.isStopped || $0.endCount != seen || $0.running.isEmpty ? () : nil }
        }
    }

    private func runOn() throws {
        var reloadAt = agent.engine.clock.secondsSince1970 + Self.reloadSeconds
        while !isStopped {
            let seen = state.withLock { $0.endCount }
            var waitSeconds = Self.longestWaitSeconds
            do {
                let now = agent.engine.clock.secondsSince1970
                if now >= reloadAt || now < reloadAt - Self.reloadSeconds {
                    try agent.reload()
                    reloadAt = now + Self.reloadSeconds
                }
                let known = agent.changeCount
                let plan = agent.plan()
                _ = try begin(plan)
                if agent.changeCount != known { continue }
                if let wakesAt = plan.wakesAt { waitSeconds = min(waitSeconds, max(1, wakesAt - now)) }
            } catch {
                agent.engine.log.error("the agent cannot go on: \(error); it tries again")
                waitSeconds = Self.troubleSeconds
            }
            state.wait(milliseconds: Int(waitSeconds) * 1000) { $0.isStopped || $0.endCount != seen ? () : nil }
        }
    }

    /// Begins what the plan says, each run on its thread. Returns how many.
    private func begin(_ plan: AgentPlan) throws(EngineError) -> Int {
        var count = 0
        for start in plan.starts where !isStopped {
            guard let run = try agent.begin(start), let id = run.record.id else { continue }
            count += 1
            state.withLock { $0.running[id] = run }
            NativeThread(name: "run") { [self] in
                let result = run.perform { [self] in isStopped }
                state.withLock { state in
                    state.running[id] = nil
                    state.ended?.append(result)
                    state.endCount += 1
                }
            }.detach()
        }
        return count
    }

    private func takeSnapshotsOnce(_ snapshots: SnapshotAgent) {
        do throws(EngineError) {
            let results = try snapshots.runDue { [self] in isStopped }
            state.withLock { $0.endedSnapshots = results }
        } catch {
            state.withLock { $0.snapshotFailure = error }
        }
    }

    private func takeSnapshots(_ snapshots: SnapshotAgent) {
        while !isStopped {
            var waitSeconds = Self.longestWaitSeconds
            do throws(EngineError) {
                _ = try snapshots.runDue { [self] in isStopped }
                if let wakesAt = try snapshots.wakesAt() {
                    waitSeconds = min(waitSeconds, max(1, wakesAt - agent.engine.clock.secondsSince1970))
                }
            } catch {
                agent.engine.log.error("no snapshots are made now: \(error); it is tried again")
                waitSeconds = Self.troubleSeconds
            }
            if sleep(seconds: waitSeconds) { return }
        }
    }

    private func renewLeases() {
        while !sleep(seconds: Agent.fleetLeaseSeconds / 3) {
            for run in state.withLockQuietly({ Array($0.running.values) }) { run.renewLeases() }
        }
    }

    private func careDaily() {
        repeat { care? { [self] in isStopped } } while !sleep(seconds: Self.careSeconds)
    }

    /// Returns early, with true, when it is stopped.
    private func sleep(seconds: Int64) -> Bool {
        state.wait(milliseconds: Int(seconds) * 1000) { $0.isStopped ? () : nil } != nil
    }
}
