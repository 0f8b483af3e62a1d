import Foundation
import Retention
import Testing

@Suite("Locks of backups that retention keeps")
struct RetentionLocksTests {
    private static let day: Int64 = 86_400
    private static let now: Int64 = 1_795_000_000
    private let locks = RetentionLocks([
        .daily: 7 * day, .weekly: 35 * day, .monthly: 366 * day, .yearly: 3 * 366 * day,
    ])

    private func entry(_ reasons: [KeepReason], isSpared: Bool = false) throws -> RetentionPlan<Int>.Entry {
        // The plan makes entries: one point that is kept for what is asked.
        let plan = RetentionPlan(
            [RetentionPoint(id: 1, time: Self.now - 100)], policy: .gfs, timeZone: .gmt, now: Self.now)
        return RetentionPlan<Int>.Entry(
            point: try #require(plan.entries.first).point, verdict: .keep(reasons), isSpared: isSpared)
    }

    private func slot(_ retentionClass: RetentionClass) -> KeepReason {
        .slot(retentionClass, period: "", rank: 1, count: 7)
    }

    @Test func `the longest lock of the classes counts, and who is the first of none is locked as the shortest class`()
    {
        #expect(locks.seconds(of: [.daily, .yearly, .weekly], .gfs) == 3 * 366 * Self.day)
        #expect(locks.seconds(of: [.daily], .gfs) == 7 * Self.day)
        #expect(locks.seconds(of: [], .gfs) == 7 * Self.day)
        #expect(locks.seconds(of: [], RetentionPolicy(daily: 0, weekly: 4)) == 35 * Self.day)
        #expect(RetentionLocks([.yearly: 99]).seconds(of: [.daily], .gfs) == nil)
        #expect(RetentionLocks().isEmpty && RetentionLocks().seconds(of: [.yearly], .gfs) == nil)
    }

    @Test func `a lock is lengthened before it runs out, by a week at most, and never shortened`() throws {
        let yearly = try entry([slot(.yearly)])
        func renewal(_ left: Int64?) -> Int64? {
            locks.renewal(of: yearly, lockedUntil: left.map { Self.now + $0 }, .gfs, now: Self.now)
                .map { $0 - Self.now }
        }
        #expect(renewal(300 * Self.day) == nil)
        #expect(renewal(7 * Self.day) == nil && renewal(7 * Self.day / 2) == nil)
        #expect(renewal(7 * Self.day / 2 - 1) == 7 * Self.day)
        #expect(renewal(0) == 7 * Self.day && renewal(-5) == 7 * Self.day && renewal(nil) == 7 * Self.day)
        #expect(locks.renewal(of: yearly, lockedUntil: .max, .gfs, now: Self.now) == nil)
    }

    @Test func `short locks are held from look to look, and no longer than they say`() throws {
        let short = RetentionLocks([.daily: 2 * Self.day])
        let daily = try entry([slot(.daily), .newestGood])
        func renewal(_ left: Int64) -> Int64? {
            short.renewal(of: daily, lockedUntil: Self.now + left, .basic, now: Self.now).map { $0 - Self.now }
        }
        // A look a day: what is left at the next one is more than nothing.
        #expect(renewal(36 * 3600) == nil)
        #expect(renewal(36 * 3600 - 1) == 2 * Self.day)
        let tiny = RetentionLocks([.daily: 60])
        #expect(tiny.renewal(of: daily, lockedUntil: Self.now + 60, .basic, now: Self.now) == nil)
        #expect(tiny.renewal(of: daily, lockedUntil: Self.now + 59, .basic, now: Self.now) == Self.now + 60)
    }

    @Test func `only what counts for retention is lengthened`() throws {
        func isRenewed(_ reasons: [KeepReason], isSpared: Bool = false) throws -> Bool {
            locks.renewal(of: try entry(reasons, isSpared: isSpared), lockedUntil: nil, .gfs, now: Self.now) != nil
        }
        #expect(try isRenewed([slot(.weekly)]) && isRenewed([.newestGood]) && isRenewed([.held, slot(.daily)]))
        #expect(try !isRenewed([.held], isSpared: true) && !isRenewed([.locked(until: .max)], isSpared: true))
        #expect(try !isRenewed([.notChecked]) && !isRenewed([.nothingNewerIsGood]) && !isRenewed([.policyIsOff]))
        #expect(try !isRenewed([.newestGood, .future]))
        let removed = RetentionPlan<Int>.Entry(
            point: try entry([]).point, verdict: .remove(.surplus), isSpared: false)
        #expect(locks.renewal(of: removed, lockedUntil: nil, .gfs, now: Self.now) == nil)
    }

    @Test func `day by day for years: what is kept is always locked, and what is dropped is free after a week`() {
        var ends: [Int: Int64] = [:]
        var points: [RetentionPoint<Int>] = []
        var droppedAt: [Int: Int64] = [:]
        let locks = RetentionLocks([.daily: 5 * Self.day, .weekly: 10 * Self.day, .monthly: 60 * Self.day])
        let policy = RetentionPolicy(daily: 7, weekly: 4, monthly: 6)
        for id in 0..<900 {
            let now = Self.now + Int64(id) * Self.day
            let classes = RetentionPlan.classes(ofNewPointAt: now, after: points, policy: policy, timeZone: .gmt)
            ends[id] = locks.seconds(of: classes, policy).map { now + $0 }
            points.append(RetentionPoint(id: id, time: now))
            let plan = RetentionPlan(points, policy: policy, timeZone: .gmt, now: now)
            for entry in plan.entries {
                if entry.isRemoved {
                    droppedAt[entry.point.id] = droppedAt[entry.point.id] ?? now
                    if let end = ends[entry.point.id], end > now { continue }
                    points.removeAll { $0.id == entry.point.id }
                } else {
                    #expect(ends[entry.point.id].map { $0 > now } == true, "day \(id): \(entry.point.id) is not locked")
                    if let end = locks.renewal(of: entry, lockedUntil: ends[entry.point.id], policy, now: now) {
                        #expect(end > ends[entry.point.id] ?? 0)
                        ends[entry.point.id] = end
                    }
                }
            }
        }
        // All that ever went was gone soon after, or is locked by what it was made with.
        for (id, time) in droppedAt where ends[id]! > time + 7 * Self.day {
            #expect(ends[id]! <= Self.now + Int64(id) * Self.day + 60 * Self.day)
        }
        #expect(points.count < 30)
    }
}
