import Foundation
import Retention
import Testing

/// The same numbers for the same seed, on every machine.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

@Suite("Properties of retention", .timeLimit(.minutes(1)))
struct RetentionPlanTests {
    private typealias Point = RetentionPoint<Int>
    private typealias Plan = RetentionPlan<Int>

    private static let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]

    private func randomPolicy(_ random: inout SeededRandom) -> RetentionPolicy {
        let presets: [RetentionPolicy] = [.basic, .weekly, .gfs]
        if Bool.random(using: &random) { return presets.randomElement(using: &random)! }
        return RetentionPolicy(
            daily: .random(in: 0...9, using: &random), weekly: .random(in: 0...6, using: &random),
            monthly: .random(in: 0...6, using: &random), yearly: .random(in: 1...3, using: &random))
    }

    /// Points of some months or years, some in the same minute, some bad, some kept by others.
    private func randomPoints(_ count: Int, until end: Int64, _ random: inout SeededRandom) -> [Point] {
        let span = Int64([30, 400, 1500].randomElement(using: &random)!) * 86_400
        return (0..<count).map { id in
            let state: Point.State = [.good, .good, .good, .good, .unverified, .failed].randomElement(using: &random)!
            return Point(
                id: id, time: end - .random(in: 0...span, using: &random) / 60 * 60, state: state,
                isHeld: .random(in: 0..<20, using: &random) == 0,
                lockedUntil: .random(in: 0..<20, using: &random) == 0
                    ? end + .random(in: -86_400...86_400, using: &random) : nil)
        }
    }

    /// What the table of `RetentionPlan` says, read word by word, with Foundation's calendar.
    private func isKept(
        _ point: Point, of points: [Point], _ policy: RetentionPolicy, _ zone: TimeZone, _ now: Int64
    ) -> Bool {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = zone
        func period(_ point: Point, _ retentionClass: RetentionClass) -> [Int] {
            let parts = calendar.dateComponents(
                [.year, .month, .day, .weekOfYear, .yearForWeekOfYear],
                from: Date(timeIntervalSince1970: TimeInterval(point.time)))
            return switch retentionClass {
            case .daily: [parts.year!, parts.month!, parts.day!]
            case .weekly: [parts.yearForWeekOfYear!, parts.weekOfYear!]
            case .monthly: [parts.year!, parts.month!]
            case .yearly: [parts.year!]
            }
        }
        func comes(_ left: Point, before right: Point) -> Bool { (left.time, left.id) < (right.time, right.id) }
        if policy.isOff || point.isHeld || point.state == .unverified || point.time > now { return true }
        if let end = point.lockedUntil, end > now { return true }
        let past = points.filter { $0.state == .good && $0.time <= now }
        let good = past.isEmpty ? points.filter { $0.state == .good } : past
        if point.state == .failed { return !good.contains { comes(point, before: $0) } }
        if !good.contains(where: { comes(point, before: $0) }) { return true }
        return RetentionClass.allCases.contains { retentionClass in
            let own = period(point, retentionClass)
            guard !past.contains(where: { comes($0, before: point) && period($0, retentionClass) == own }) else {
                return false
            }
            let newer = Set(
                past.filter { comes(point, before: $0) }.map { period($0, retentionClass) }.filter { $0 != own })
            return newer.count < policy.count(of: retentionClass)
        }
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `a plan is what its rules say, of every point, and in whatever order they come`(seed: UInt64) throws {
        var random = SeededRandom(seed)
        let now: Int64 = 1_795_000_000 + .random(in: 0..<40_000_000, using: &random)
        let zone = try #require(TimeZone(identifier: Self.zones.randomElement(using: &random)!))
        let policy = randomPolicy(&random)
        var points = randomPoints(.random(in: 0...60, using: &random), until: now + 86_400, &random)
        points.sort { ($0.time, $0.id) < ($1.time, $1.id) }
        let plan = Plan(points, policy: policy, timeZone: zone, now: now)
        for entry in plan.entries {
            #expect(
                !entry.isRemoved == isKept(entry.point, of: points, policy, zone, now),
                "seed \(seed): \(entry), \(policy), \(zone)")
        }
        // Everything is in it once.
        #expect(Set(plan.kept.map(\.id)).union(plan.removed.map(\.id)) == Set(points.map(\.id)))
        #expect(plan.entries.count == points.count)
        // A failed or unverified one stands for nothing, and no class keeps more than its number.
        for retentionClass in RetentionClass.allCases {
            let slots = plan.entries.filter { entry in
                guard case .keep(let reasons) = entry.verdict else { return false }
                return reasons.contains { if case .slot(retentionClass, _, _, _) = $0 { true } else { false } }
            }
            #expect(slots.count <= policy.count(of: retentionClass))
            #expect(slots.allSatisfy { $0.point.state == .good && $0.point.time <= now })
        }
        let good = points.filter { $0.state == .good && $0.time <= now }
        if let newest = good.last { #expect(plan.kept.contains(newest)) }
        // Those of one moment are told apart by their order alone; all others are not.
        if Set(points.map(\.time)).count == points.count {
            let other = Plan(points.shuffled(using: &random), policy: policy, timeZone: zone, now: now)
            #expect(other.entries == plan.entries)
        }
    }

    @Test(arguments: 0..<12 as Range<UInt64>)
    func `what went never comes back, and day by day as much is kept as at once`(seed: UInt64) throws {
        var random = SeededRandom(seed)
        let zone = try #require(TimeZone(identifier: Self.zones.randomElement(using: &random)!))
        let policy = randomPolicy(&random)
        var now: Int64 = 1_704_000_000
        var (all, standing): ([Point], [Point]) = ([], [])
        var removed: Set<Int> = []
        for day in 0..<800 {
            now += 86_400 + .random(in: -7200...7200, using: &random)
            // Missed days, and several backups in a day.
            for _ in 0..<[0, 1, 1, 1, 1, 2, 3].randomElement(using: &random)! {
                let state: Point.State = .random(in: 0..<10, using: &random) == 0 ? .failed : .good
                let point = Point(id: all.count, time: now - .random(in: 0..<3600, using: &random), state: state)
                if let last = all.last, last.time >= point.time { continue }
                all.append(point)
                standing.append(point)
            }
            let plan = Plan(standing, policy: policy, timeZone: zone, now: now)
            standing = plan.kept.sorted { $0.time < $1.time }
            removed.formUnion(plan.removed.map(\.id))
            if day % 50 == 49 {
                let whole = Plan(all, policy: policy, timeZone: zone, now: now)
                #expect(Set(whole.kept.map(\.id)) == Set(standing.map(\.id)), "seed \(seed), day \(day), \(policy)")
                #expect(removed.isDisjoint(with: whole.kept.map(\.id)))
            }
        }
    }

    @Test func `the classes of a new backup are those that it is the first of`() throws {
        let zone = try #require(TimeZone(identifier: "Europe/Berlin"))
        func classes(_ time: Int64, after others: [Int64]) -> Set<RetentionClass> {
            Plan.classes(
                ofNewPointAt: time, after: others.enumerated().map { Point(id: $0.offset, time: $0.element) },
                policy: .gfs, timeZone: zone)
        }
        // 2026-01-01T00:30 in Berlin, a Thursday; the evening before; the Monday after; the next day.
        let (newYear, eve, monday) = (1_767_223_800 as Int64, 1_767_220_000 as Int64, 1_767_600_000 as Int64)
        #expect(classes(newYear, after: []) == Set(RetentionClass.allCases))
        #expect(classes(newYear, after: [eve]) == [.daily, .monthly, .yearly])
        #expect(classes(monday, after: [newYear]) == [.daily, .weekly])
        #expect(classes(newYear + 60, after: [newYear]).isEmpty)
    }

    @Test func `a policy that is off removes nothing`() {
        let points = (0..<100).map { Point(id: $0, time: Int64($0) * 3600, state: $0 % 2 == 0 ? .good : .failed) }
        #expect(Plan(points, policy: .off, timeZone: .gmt, now: 1 << 40).removed.isEmpty)
    }
}
