package import BackupNames
package import Catalog
package import Foundation
internal import Logging
package import Retention

/// What retention says of the backups of one disk.
package struct DiskPrune: Sendable {
    package let disk: DiskName
    package let policy: RetentionPolicy
    /// Whose calendar counts.
    package let timeZone: TimeZone
    package let plan: RetentionPlan<BackupDate>
    /// The copies of each point at the backends that retention is about.
    package let copies: [BackupDate: [BackupSummary]]

    package var removedCopies: [BackupSummary] { plan.removed.flatMap { copies[$0.id] ?? [] } }
}

/// What became of one copy that retention drops.
package struct PruneOutcome: Sendable {
    package let backup: BackupSummary
    /// nil: it is gone.
    package let error: EngineError?
    /// Days for which its backend goes on billing it.
    package let billedDays: Int64

    package init(backup: BackupSummary, error: EngineError?, billedDays: Int64) {
        self.backup = backup
        self.error = error
        self.billedDays = billedDays
    }
}

/// Retention, carried out. It is about the backups at DR backends alone: what lies elsewhere was put there by hand, and is nobody's
/// to remove but theirs who put it there. The copies of a backup at several of them are one point, and go together.
///
/// | point | its state |
/// |---|---|
/// | a check of any copy found nothing wrong, and no later one did | good |
/// | nobody has looked at a copy yet | not checked: `prunePlans` looks first (presence), and where the backend is away it stays so |
/// | else | failed |
extension Engine {
    /// A catalog may believe in backups that somebody else has removed: what is to be kept was seen no longer ago than this before
    /// anything goes.
    private static let presenceSeconds: Int64 = 7 * 86_400

    /// The plans of all disks that have a policy. `retention` gives it, with the zone whose calendar counts; nil leaves a disk alone.
    /// Looks at what nobody has looked at, and at what the plan relies on, where that was long ago.
    package func prunePlans(
        _ retention: (DiskName) -> (policy: RetentionPolicy, timeZone: TimeZone)?,
        isStopped: () -> Bool = { false }
    ) throws(EngineError) -> [DiskPrune] {
        do {
            var plans: [DiskPrune] = []
            let backups = try catalog.allBackups().filter {
                backends[$0.identifier.backend]?.isDisasterRecovery == true
            }
            for (disk, copies) in Dictionary(grouping: backups, by: \.identifier.diskName).sorted(by: {
                isBefore($0.key, $1.key)
            }) {
                guard let (policy, zone) = retention(disk), !policy.isOff else { continue }
                plans.append(try prunePlan(disk, copies, policy, zone, isStopped))
            }
            return plans
        } catch {
            throw EngineError(error, subject: "prune")
        }
    }

    /// The plan of one disk.
    package func prunePlan(
        of disk: DiskName, _ policy: RetentionPolicy, in timeZone: TimeZone, isStopped: () -> Bool = { false }
    ) throws(EngineError) -> DiskPrune {
        do {
            return try prunePlan(disk, try retainedBackups(of: disk), policy, timeZone, isStopped)
        } catch {
            throw EngineError(error, subject: "prune")
        }
    }

    private func prunePlan(
        _ disk: DiskName, _ backups: [BackupSummary], _ policy: RetentionPolicy, _ zone: TimeZone,
        _ isStopped: () -> Bool
    ) throws -> DiskPrune {
        let copies = Dictionary(grouping: backups, by: \.identifier.date)
        let held = Set(try catalog.holds().map(\.identifier))
        let now = clock.secondsSince1970
        var looked: Set<BackupIdentifier> = []
        while true {
            let checks = try checks(of: backups, disk)
            let points = retentionPoints(copies, checks, held: held)
            let plan = RetentionPlan(points, policy: policy, timeZone: zone, now: now)
            // Those nobody has looked at; and before anything goes, those because of which it may.
            let relied = plan.removed.isEmpty ? [] : plan.kept.filter { $0.state == .good }
            let asked = points.filter { $0.state == .unverified } + relied
            let due = asked.flatMap { copies[$0.id] ?? [] }.filter { copy in
                let seen = (checks[copy.identifier] ?? []).compactMap(\.goodAt).max() ?? .min
                return !looked.contains(copy.identifier) && (seen < now - Self.presenceSeconds || seen > now)
            }
            if due.isEmpty || isStopped() {
                return DiskPrune(disk: disk, policy: policy, timeZone: zone, plan: plan, copies: copies)
            }
            for copy in due {
                looked.insert(copy.identifier)
                do {
                    _ = try check(copy.identifier, .presence)
                } catch {
                    log.warning("\(copy.identifier) cannot be looked at: \(error)")
                }
            }
        }
    }

    /// The last checks of the backups of a disk.
    func checks(
        of backups: [BackupSummary], _ disk: DiskName
    ) throws(CatalogError) -> [BackupIdentifier: [CheckRecord]] {
        var checks: [BackupIdentifier: [CheckRecord]] = [:]
        for backend in Set(backups.map(\.identifier.backend)) {
            let own = try catalog.checks(of: disk, at: backend)
            for backup in backups where backup.identifier.backend == backend {
                checks[backup.identifier] = own[backup.identifier.date]
            }
        }
        return checks
    }

    /// What retention sees of the backups of a disk, by date: all copies of one together.
    func retentionPoints(
        _ copies: [BackupDate: [BackupSummary]], _ checks: [BackupIdentifier: [CheckRecord]],
        held: Set<BackupIdentifier>
    ) -> [RetentionPoint<BackupDate>] {
        copies.sorted { $0.key < $1.key }.map { date, copies in
            RetentionPoint(
                id: date, time: copies.map(\.createdAt).min() ?? date.secondsSince1970,
                state: Self.state(copies.map { checks[$0.identifier] ?? [] }),
                isHeld: copies.contains { held.contains($0.identifier) },
                lockedUntil: copies.compactMap(\.lockedUntil).max())
        }
    }

    /// The backups of a disk that retention is about: those at DR backends.
    package func retainedBackups(of disk: DiskName) throws(CatalogError) -> [BackupSummary] {
        var backups: [BackupSummary] = []
        for backend in backends.values.filter(\.isDisasterRecovery).sorted(by: { $0.name < $1.name }) {
            backups += try catalog.backups(of: disk, at: backend.name)
        }
        return backups
    }

    private static func state(_ copies: [[CheckRecord]]) -> RetentionPoint<BackupDate>.State {
        if copies.contains(where: { checks in
            BackupHealth.finding(checks) == nil && checks.contains { $0.goodAt != nil }
        }) {
            return .good
        }
        return copies.contains { BackupHealth.finding($0) == nil } ? .unverified : .failed
    }

    /// Removes what the plans drop, the oldest first; one that cannot be removed is told, and the others go on.
    ///
    /// `.held`, and nothing is removed, where that is more than `maximumShare` of all and `isForced` is false. What another host has
    /// removed by the same policy does not count: a catalog that has not heard of it for a month is no danger to anything.
    package func prune(
        _ plans: [DiskPrune], maximumShare: Double, isForced: Bool, isStopped: () -> Bool = { false },
        report: (PruneOutcome) -> Void = { _ in }
    ) throws(EngineError) -> [PruneOutcome] {
        var shelf = PruneGuard(
            removedCount: plans.reduce(0) { $0 + $1.plan.removed.count },
            count: plans.reduce(0) { $0 + $1.plan.entries.count })
        if !isForced, shelf.refuses(maximumShare: maximumShare) {
            let gone = plans.reduce(0) { $0 + (isStopped() ? 0 : alreadyRemovedCount($1)) }
            shelf = PruneGuard(removedCount: shelf.removedCount - gone, count: shelf.count - gone)
        }
        guard isForced || !shelf.refuses(maximumShare: maximumShare) else {
            throw EngineError(
                .held,
                "\(shelf.removedCount) of \(shelf.count) backups would go, more than \(Int(maximumShare * 100)) percent",
                hint: "holdfast prune --dry-run --explain shows which and why; --force removes them")
        }
        var outcomes: [PruneOutcome] = []
        for plan in plans {
            // What must never happen is looked for where it would.
            let newest = plan.plan.entries.first { $0.point.state == .good && $0.point.time <= clock.secondsSince1970 }
            precondition(
                newest?.isRemoved != true, "internal error: retention drops the last good backup of \(plan.disk)")
            for backup in plan.removedCopies.sorted(by: { $0.createdAt < $1.createdAt }) {
                if isStopped() { return outcomes }
                var failure: EngineError?
                do throws(EngineError) {
                    try remove(backup.identifier)
                    log.notice("\(backup.identifier) is removed by retention")
                } catch {
                    failure = error
                }
                let outcome = PruneOutcome(backup: backup, error: failure, billedDays: billedDays(backup))
                outcomes.append(outcome)
                report(outcome)
            }
        }
        return outcomes
    }

    /// How many of the points that are to go are gone, and would have to go if they were not.
    private func alreadyRemovedCount(_ prune: DiskPrune) -> Int {
        let gone = Set(prune.plan.removed.filter { (prune.copies[$0.id] ?? []).allSatisfy(isGone) }.map(\.id))
        guard !gone.isEmpty else { return 0 }
        let points = prune.plan.entries.map(\.point).map { point in
            gone.contains(point.id)
                ? RetentionPoint(
                    id: point.id, time: point.time, isHeld: point.isHeld, lockedUntil: point.lockedUntil) : point
        }
        let plan = RetentionPlan(
            points, policy: prune.policy, timeZone: prune.timeZone, now: clock.secondsSince1970)
        return plan.removed.count { gone.contains($0.id) }
    }

    /// Whether nothing of a copy is at its backend any more.
    private func isGone(_ backup: BackupSummary) -> Bool {
        guard let backend = backends[backup.identifier.backend] else { return false }
        do {
            return try facts(of: backend.archiveKey(of: backup.place), at: backend) == nil
                && facts(of: backend.manifestKey(of: backup.place), at: backend) == nil
        } catch {
            return false
        }
    }

    /// Days, rounded up, for which a backend goes on billing a backup that is removed now.
    package func billedDays(_ backup: BackupSummary) -> Int64 {
        let minimum = MinimumDuration(days: backends[backup.identifier.backend]?.minimumBilledDays ?? 0)
        return (minimum.secondsLeft(age: clock.secondsSince1970 - backup.createdAt) + 86_399) / 86_400
    }
}

private func isBefore(_ left: DiskName, _ right: DiskName) -> Bool {
    (left.org, left.vm, left.disk) < (right.org, right.vm, right.disk)
}
