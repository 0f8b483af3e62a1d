import Retention
import Testing

@Suite("Which snapshots are kept")
struct SnapshotRetentionTests {
    private func plan(_ times: [Int64], keep: Int, now: Int64 = 1000) -> SnapshotRetention<Int64> {
        SnapshotRetention(times.map { .init(id: $0, time: $0) }, keep: keep, now: now)
    }

    @Test func `the newest so many stay, in whatever order they are given`() {
        #expect(plan([], keep: 3).removed.isEmpty)
        #expect(plan([5, 1, 3], keep: 3).removed.isEmpty && plan([5, 1, 3], keep: 3).kept == [1, 3, 5])
        #expect(plan([5, 1, 3, 9], keep: 3).removed == [1] && plan([5, 1, 3, 9], keep: 1).removed == [1, 3, 5])
    }

    @Test func `one that is later than now stays and takes nobody's place`() {
        let plan = plan([10, 20, 30, 2000], keep: 2)
        #expect(plan.removed == [10] && plan.kept == [20, 30, 2000])
        #expect(self.plan([2000, 3000], keep: 1).removed.isEmpty)
    }

    @Test func `of two of one time the one that stands later is the newer`() {
        let plan = SnapshotRetention([.init(id: "a", time: 5), .init(id: "b", time: 5)], keep: 1, now: 9)
        #expect(plan.removed == ["a"] && plan.kept == ["b"])
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `kept and removed are all of them, and the newest is never removed`(seed: UInt64) {
        var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
        func random(_ limit: UInt64) -> Int64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int64(state % limit)
        }
        let points = (0..<Int(random(30))).map { SnapshotRetention.Point(id: $0, time: random(1500)) }
        let keep = Int(random(10)) + 1
        let plan = SnapshotRetention(points, keep: keep, now: 1000)
        #expect(
            Set(plan.kept + plan.removed).count == points.count && plan.kept.count + plan.removed.count == points.count)
        let times = Dictionary(uniqueKeysWithValues: points.map { ($0.id, $0.time) })
        let past = points.filter { $0.time <= 1000 }
        #expect(plan.removed.count == max(0, past.count - keep))
        let oldestKept = plan.kept.compactMap { times[$0] }.filter { $0 <= 1000 }.min() ?? .max
        #expect(plan.removed.allSatisfy { (times[$0] ?? .max) <= oldestKept })
        // More snapshots never bring one back.
        let more = SnapshotRetention(points + [.init(id: -1, time: 1000)], keep: keep, now: 1000)
        #expect(Set(plan.removed).isSubset(of: more.removed))
    }
}
