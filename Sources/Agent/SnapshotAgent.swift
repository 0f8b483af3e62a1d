package import BackupEngine
package import BackupNames
package import Catalog
package import Logging
package import Retention
package import Snapshots

/// A disk of which snapshots are made without anybody asking.
package struct SnapshotDisk: Sendable {
    package let name: DiskName
    package let pool: ResourceName
    /// One is wanted in each such period.
    package let cadence: RetentionClass
    /// How many of the disk stay.
    package let keep: Int
    package let window: BackupWindow
    /// Finds the image, reaches the consistent point, and copies it.
    package let take: @Sendable (_ progress: ProgressReport) throws -> SnapshotRecord

    package init(
        name: DiskName, pool: ResourceName, cadence: RetentionClass, keep: Int, window: BackupWindow,
        take: @escaping @Sendable (_ progress: ProgressReport) throws -> SnapshotRecord
    ) {
        self.name = name
        self.pool = pool
        self.cadence = cadence
        self.keep = keep
        self.window = window
        self.take = take
    }

    /// When one is wanted is decided as of backups.
    var policy: RetentionPolicy {
        switch cadence {
        case .daily: RetentionPolicy(daily: keep)
        case .weekly: RetentionPolicy(daily: 0, weekly: keep)
        case .monthly: RetentionPolicy(daily: 0, monthly: keep)
        case .yearly: RetentionPolicy(daily: 0, yearly: keep)
        }
    }

    /// Another moment of the window than that of the disk's backups.
    var seed: UInt64 { AutomaticDisk.seed(of: "snapshot/\(name.org)/\(name.vm)/\(name.disk)") }
}

/// Makes the snapshots that are due, and removes those that are too many: one after the other, for they copy whole disks inside the
/// pool. They need no backend, and are no backups: nothing here looks at those, nor they at these.
///
/// Of a run that its process did not end the agent that starts next writes down that it was interrupted, as of backups; what it has left
/// in the pool `Snapshots` removes. One thread at a time.
package final class SnapshotAgent: Sendable {
    /// Waiting after failures does not grow beyond so many.
    private static let runLimit = 32

    private let snapshots: Snapshots
    package let disks: [SnapshotDisk]
    private let clock: any WallClock
    private let log: Logger
    private let owner: ProcessIdentity
    private var catalog: Catalog { snapshots.catalog }

    package init(
        _ snapshots: Snapshots, _ disks: [SnapshotDisk], clock: any WallClock = SystemClock(), log: Logger,
        owner: ProcessIdentity = .current
    ) {
        self.snapshots = snapshots
        self.disks = disks
        self.clock = clock
        self.log = log
        self.owner = owner
    }

    // MARK: Planning

    /// What stands for one disk now.
    package struct Outlook: Sendable, Hashable {
        package let disk: DiskName
        package let pool: ResourceName
        package let decision: RunDecision
        package let lastGoodAt: Int64?
        package let failureCount: Int
    }

    /// In the order of the disks.
    package func outlook() throws(EngineError) -> [Outlook] {
        do throws(CatalogError) {
            let now = clock.secondsSince1970
            var outlooks: [Outlook] = []
            for disk in disks {
                let history = try history(of: disk)
                let decision = RunDecision.decide(
                    policy: disk.policy, window: disk.window, history: history, seed: disk.seed, now: now)
                outlooks.append(
                    Outlook(
                        disk: disk.name, pool: disk.pool, decision: decision, lastGoodAt: history.lastGoodAt,
                        failureCount: history.failureCount))
            }
            return outlooks
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }

    /// Snapshots of the disk in its pool, whoever made them, and the agent's runs.
    private func history(of disk: SnapshotDisk) throws(CatalogError) -> RunHistory {
        let runs = try catalog.backupRuns(of: disk.name, .snapshot, limit: Self.runLimit).filter { !$0.isRunning }
        let newest = try catalog.snapshots(of: disk.name).filter { $0.identifier.pool == disk.pool }
            .max { $0.identifier.date < $1.identifier.date }
        // A run belongs to the window in which it began, not to that in which its source was ready.
        let lastGoodAt = newest.map { newest in
            runs.first { $0.isGood && $0.date == newest.identifier.date }.map(\.startedAt) ?? newest.createdAt
        }
        let failed = runs.failuresSinceGood
        return RunHistory(
            lastGoodAt: lastGoodAt, lastFailedAt: failed.first.flatMap { $0.endedAt ?? $0.startedAt },
            failureCount: failed.count)
    }

    // MARK: Runs

    /// Makes all that are due now; who waits longest is first. A disk is tried once. `isStopped` is asked as it goes on: true cancels what is
    /// under way.
    package func runDue(isStopped: () -> Bool) throws(EngineError) -> [BackupRunRecord] {
        var results: [BackupRunRecord] = []
        var tried: Set<DiskName> = []
        while !isStopped() {
            let due = try outlook().filter { outlook in
                guard case .due = outlook.decision else { return false }
                return !tried.contains(outlook.disk)
            }
            let next = due.min { ($0.lastGoodAt ?? .min, "\($0.disk)") < ($1.lastGoodAt ?? .min, "\($1.disk)") }
            guard let next, let disk = disks.first(where: { $0.name == next.disk }) else { break }
            tried.insert(disk.name)
            results.append(try perform(disk, next.decision, isStopped: isStopped))
        }
        return results
    }

    /// When time alone changes something next; nil: never.
    package func wakesAt() throws(EngineError) -> Int64? {
        try outlook().compactMap { outlook in
            if case .waits(let until, _) = outlook.decision { until } else { nil }
        }.min()
    }

    private func perform(
        _ disk: SnapshotDisk, _ decision: RunDecision, isStopped: () -> Bool
    ) throws(EngineError) -> BackupRunRecord {
        do {
            var run = BackupRunRecord(
                kind: .snapshot, disk: disk.name, place: disk.pool, startedAt: clock.secondsSince1970,
                catchesUp: decision == .due(catchesUp: true), ownerProcess: owner.process,
                ownerStartTicks: owner.startTicks, ownerBootIdentifier: owner.bootIdentifier)
            run.id = try catalog.beginRun(run)
            do {
                let record = try disk.take { _, _ in
                    if isStopped() { throw EngineError(.cancelled, "the agent ends") }
                }
                run.outcome = BackupRunRecord.good
                run.date = record.identifier.date
                run.rawByteCount = record.rawByteCount
                run.storedByteCount = record.dataByteCount
            } catch {
                let failure = EngineError(error, subject: "\(disk.name)")
                run.outcome = failure.code.rawValue
                run.detail = failure.detail
                if failure.code == .cancelled {
                    log.notice("the snapshot of \(disk.name) is given up: \(failure)")
                } else {
                    log.error("the snapshot of \(disk.name) in the pool \(disk.pool) failed: \(failure)")
                }
            }
            run.endedAt = clock.secondsSince1970
            try catalog.endRun(run)
            if run.isGood { prune(disk) }
            return run
        } catch {
            throw EngineError(error, subject: "a snapshot of \(disk.name)")
        }
    }

    /// Removes those that are too many. What keeps one from being removed is told in the log; the next run tries again.
    private func prune(_ disk: SnapshotDisk) {
        do throws(EngineError) {
            let own = try snapshots.all(of: disk.name).filter { $0.identifier.pool == disk.pool }
            let plan = SnapshotRetention(
                own.map { SnapshotRetention.Point(id: $0.identifier, time: $0.createdAt) }, keep: disk.keep,
                now: clock.secondsSince1970)
            for identifier in plan.removed { try snapshots.delete(identifier) }
        } catch {
            log.warning("snapshots of \(disk.name) that are too many stay: \(error)")
        }
    }
}
