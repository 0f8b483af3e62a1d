import Foundation
import Retention
import Testing

@Suite("The growth of backups, foretold")
struct GrowthProjectionTests {
    private static let day: Int64 = 86_400
    /// 2026-11-20T02:00Z.
    private static let now: Int64 = 1_795_140_000

    /// A backup a day up to today, the newest last.
    private func daily(_ count: Int, byteCount: (Int) -> UInt64 = { _ in 100 }) -> [GrowthProjection.Sized] {
        (0..<count).map { index in
            GrowthProjection.Sized(
                RetentionPoint(id: index, time: Self.now - Int64(count - 1 - index) * Self.day),
                byteCount: byteCount(index))
        }
    }

    private func project(
        _ backups: [GrowthProjection.Sized], _ policy: RetentionPolicy, locks: RetentionLocks = RetentionLocks(),
        days: [Int] = [30, 365]
    ) -> [GrowthProjection] {
        GrowthProjection.project(
            backups, policy: policy, timeZone: .gmt, locks: locks, now: Self.now, days: days)
    }

    @Test func `a policy that is full stays full`() {
        let found = project(daily(3), .basic)
        #expect(found.map { $0.standing.count + $0.newCount } == [3, 3])
        #expect(found.map(\.newCount) == [3, 3] && found[0].newByteCount == 100)
    }

    @Test func `a young one grows to what the policy keeps, and no further`() {
        // The first backup is of the 20th of November: first of day, week, month, year. On the 20th of December: 7 days, of
        // them Monday the 14th; the weeks of the 7th, of November 30th and 23rd; the 1st of December; and the first of all.
        let month = project(daily(1), .gfs)[0]
        #expect(month.standing == [0])
        #expect(month.newCount == 7 + 3 + 1)
        // After two years: 7 days, among them a week's first; 3 more weeks, 12 months, 3 years; some are two of these.
        let later = project(daily(1), .gfs, days: [730, 1095, 1460])
        for projection in later { #expect((20...26).contains(projection.standing.count + projection.newCount)) }
    }

    @Test func `the next ones are as large as the median of the last seven good ones`() {
        let found = project(daily(20) { $0 < 13 ? 1_000_000 : UInt64([70, 10, 60, 20, 50, 30, 40][$0 - 13]) }, .basic)
        #expect(found[0].newByteCount == 40)
    }

    @Test func `a disk that nobody backs up any more only loses, and keeps its last one`() {
        let old = (0..<10).map { index in
            GrowthProjection.Sized(
                RetentionPoint(id: index, time: Self.now - Int64(20 - index) * Self.day), byteCount: 100)
        }
        let found = project(old, .basic)
        #expect(found.map(\.newCount) == [0, 0])
        #expect(found.map(\.standing) == [[7, 8, 9], [7, 8, 9]])
    }

    @Test func `held and locked ones stay, and locks keep new ones longer`() {
        var backups = daily(5)
        backups[0] = GrowthProjection.Sized(
            RetentionPoint(id: 0, time: backups[0].point.time, isHeld: true), byteCount: 100)
        backups[1] = GrowthProjection.Sized(
            RetentionPoint(id: 0, time: backups[1].point.time, lockedUntil: Self.now + 100 * Self.day), byteCount: 100)
        let found = project(backups, .basic)
        #expect(found[0].standing == [0, 1] && found[1].standing == [0])
        // Ten days of lock: those of today and of the nine days before.
        let locked = project(daily(3), .basic, locks: RetentionLocks([.daily: 10 * Self.day]))
        #expect(locked[0].newCount == 10)
    }

    @Test func `a weekly policy makes one a week, and nothing grows without a policy or a backup`() {
        #expect(project(daily(1), RetentionPolicy(daily: 0, weekly: 52), days: [70])[0].newCount == 10)
        #expect(project([], .gfs).map { $0.standing.count + $0.newCount } == [0, 0])
        #expect(project(daily(5), .off).map(\.standing.count) == [5, 5])
    }
}
