package import Foundation

/// One backup as retention sees it: all copies of it together.
package struct RetentionPoint<ID: Hashable & Sendable>: Sendable, Hashable {
    package enum State: Sendable, Hashable {
        /// The last look at it found nothing wrong.
        case good
        /// Nobody has looked at it yet, or its backend is away.
        case unverified
        /// Something is wrong with it.
        case failed
    }

    package let id: ID
    /// Its consistent point, seconds since 1970.
    package let time: Int64
    package let state: State
    package let isHeld: Bool
    /// Until when its store refuses to remove it, seconds since 1970.
    package let lockedUntil: Int64?

    package init(id: ID, time: Int64, state: State = .good, isHeld: Bool = false, lockedUntil: Int64? = nil) {
        self.id = id
        self.time = time
        self.state = state
        self.isHeld = isHeld
        self.lockedUntil = lockedUntil
    }
}

package enum KeepReason: Sendable, Hashable {
    /// The first good one of a period that counts: the `rank`th newest of `count`.
    case slot(RetentionClass, period: String, rank: Int, count: Int)
    case newestGood
    case held
    case locked(until: Int64)
    case notChecked
    /// Something is wrong with it, and nothing newer is good.
    case nothingNewerIsGood
    /// It is later than now: a clock is or was wrong.
    case future
    case policyIsOff

    package var text: String {
        switch self {
        case .slot(let retentionClass, let period, let rank, let count):
            "first good backup of \(retentionClass.unit) \(period): \(retentionClass.rawValue) \(rank) of \(count)"
        case .newestGood: "the newest good backup"
        case .held: "held"
        case .locked(let end): end == .max ? "locked by its store" : "locked by its store until \(Self.date(end))"
        case .notChecked: "not checked yet"
        case .nothingNewerIsGood: "something is wrong with it, but nothing newer is good"
        case .future: "later than now: a clock is or was wrong"
        case .policyIsOff: "retention is off"
        }
    }

    private static func date(_ time: Int64) -> String {
        RetentionClass.daily.periodName(of: LocalDate(dayNumber: Int(time.dividedDown(by: 86_400))))
    }
}

package enum RemoveReason: Sendable, Hashable {
    /// A good one that no class counts any more.
    case surplus
    /// Something is wrong with it, and there is a newer good one.
    case failed

    package var text: String {
        switch self {
        case .surplus: "no class keeps it"
        case .failed: "something is wrong with it, and a newer one is good"
        }
    }
}

/// What is kept of the backups of one disk, and why, and what goes. A value made of values: no clock, no catalog.
///
/// | point | kept |
/// |---|---|
/// | good | if it is the **first** good one of its period, in a class of which the period is among the newest *n* that have a good one |
/// | the newest good one | always |
/// | failed | as long as nothing newer is good; it never counts for a class |
/// | not checked | always; it never counts for a class |
/// | held, locked | always; a good one counts |
/// | later than now | always; it counts for no class, and is the newest good one only where no other is good |
///
/// The first of a period, not the last: so the classes of a backup are known when it is made (its lock is set then), and later ones
/// never bring back what was removed. Periods are those of the wall calendar of a zone, weeks from Monday (ISO 8601). Periods
/// without a good backup do not count: who was away for a month loses nothing by it.
package struct RetentionPlan<ID: Hashable & Sendable>: Sendable {
    package enum Verdict: Sendable, Hashable {
        case keep([KeepReason])
        case remove(RemoveReason)
    }

    package struct Entry: Sendable, Hashable {
        package let point: RetentionPoint<ID>
        package let verdict: Verdict
        /// It is kept only because nobody may remove it.
        package let isSpared: Bool

        package init(point: RetentionPoint<ID>, verdict: Verdict, isSpared: Bool) {
            self.point = point
            self.verdict = verdict
            self.isSpared = isSpared
        }

        package var isRemoved: Bool {
            if case .remove = verdict { true } else { false }
        }
    }

    /// The newest first.
    package let entries: [Entry]

    package var removed: [RetentionPoint<ID>] { entries.filter(\.isRemoved).map(\.point) }
    package var kept: [RetentionPoint<ID>] { entries.filter { !$0.isRemoved }.map(\.point) }

    package init(_ points: [RetentionPoint<ID>], policy: RetentionPolicy, timeZone: TimeZone, now: Int64) {
        // Sorted stably: of those of one second the first given counts as the older one.
        let ordered = points.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
            .map(\.element)
        let counting = ordered.indices.filter { ordered[$0].state == .good && ordered[$0].time <= now }
        let newestGood = counting.last ?? ordered.indices.last { ordered[$0].state == .good }
        var reasons = [[KeepReason]](repeating: [], count: ordered.count)
        if policy.isOff {
            for index in ordered.indices { reasons[index] = [.policyIsOff] }
        } else {
            let dates = counting.map { LocalDate(ordered[$0].time, in: timeZone) }
            for retentionClass in RetentionClass.allCases where policy.count(of: retentionClass) > 0 {
                let limit = policy.count(of: retentionClass)
                let firsts = Self.firsts(dates, retentionClass)
                for (rank, position) in firsts.suffix(limit).reversed().enumerated() {
                    reasons[counting[position]].append(
                        .slot(
                            retentionClass, period: retentionClass.periodName(of: dates[position]), rank: rank + 1,
                            count: limit))
                }
            }
        }
        if let newestGood, !policy.isOff { reasons[newestGood].append(.newestGood) }
        let entries = ordered.indices.map { index in
            Self.entry(
                ordered[index], reasons[index], isBeforeNewestGood: newestGood.map { index < $0 } ?? false, now: now)
        }
        self.entries = entries.reversed()
    }

    /// The positions of the first date of each period, in the order of time.
    private static func firsts(_ dates: [LocalDate], _ retentionClass: RetentionClass) -> [Int] {
        var firsts: [Int] = []
        var last: Int?
        for (position, date) in dates.enumerated() {
            let period = retentionClass.period(of: date)
            if period != last { firsts.append(position) }
            last = period
        }
        return firsts
    }

    private static func entry(
        _ point: RetentionPoint<ID>, _ slots: [KeepReason], isBeforeNewestGood: Bool, now: Int64
    ) -> Entry {
        var reasons = slots
        switch point.state {
        case .good: break
        case .unverified: reasons.append(.notChecked)
        case .failed where !isBeforeNewestGood: reasons.append(.nothingNewerIsGood)
        case .failed: break
        }
        if point.time > now { reasons.append(.future) }
        let isSpared = reasons.isEmpty
        if point.isHeld { reasons.append(.held) }
        if let end = point.lockedUntil, end > now { reasons.append(.locked(until: end)) }
        if reasons.isEmpty {
            return Entry(
                point: point, verdict: .remove(point.state == .failed ? .failed : .surplus), isSpared: false)
        }
        return Entry(point: point, verdict: .keep(reasons), isSpared: isSpared)
    }

    /// For which classes a good backup made at `time` would be the first of its period: those whose locks it gets.
    package static func classes(
        ofNewPointAt time: Int64, after points: [RetentionPoint<ID>], policy: RetentionPolicy, timeZone: TimeZone
    ) -> Set<RetentionClass> {
        let date = LocalDate(time, in: timeZone)
        let others = points.filter { $0.state == .good && $0.time <= time }.map { LocalDate($0.time, in: timeZone) }
        return Set(
            RetentionClass.allCases.filter { retentionClass in
                policy.count(of: retentionClass) > 0
                    && !others.contains { retentionClass.period(of: $0) == retentionClass.period(of: date) }
            })
    }
}
