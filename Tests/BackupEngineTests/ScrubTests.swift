import BackupEngine
import BackupNames
import Catalog
import Storage
import StorageTesting
import Testing

@Suite("Scrubbing", .timeLimit(.minutes(2)))
struct ScrubTests {
    private let day = ScrubPlan.secondsPerDay

    private func identifier(_ number: Int) throws -> BackupIdentifier {
        BackupIdentifier(
            backend: try ResourceName("local"), org: try ResourceName("acme"), vm: try ResourceName("vm\(number)"),
            date: BackupDate(secondsSince1970: 1_790_000_000), disk: try ResourceName("disk"))
    }

    /// Runs a plan once a day, or as `isRun` says, and gives for each day what was checked and fetched.
    private func simulate(
        _ sizes: [UInt64], _ rate: String, egress: UInt64? = nil, days: Int, isRun: (Int) -> Bool = { _ in true }
    ) throws -> (checks: [[Int]], fetched: [UInt64]) {
        let rate = try #require(ScrubRate(rate))
        let names = try sizes.indices.map { try identifier($0) }
        var checkedAt = [Int64?](repeating: nil, count: sizes.count)
        var fetched: [Int64: UInt64] = [:]
        var checks: [[Int]] = []
        var perDay: [UInt64] = []
        for number in 0..<days {
            let now = 20_000 * day + Int64(number) * day + 7200
            var done: [Int] = []
            if isRun(number) {
                let items = sizes.indices.map {
                    ScrubPlan.Item(
                        identifier: names[$0], archiveByteCount: sizes[$0], createdAt: 0, checkedAt: checkedAt[$0])
                }
                let plan = ScrubPlan(items, rate, egressPerDay: egress, now: now, fetched: fetched)
                fetched[now / day, default: 0] += 0
                done = plan.whole.compactMap(names.firstIndex)
                for index in done {
                    checkedAt[index] = now
                    fetched[now / day, default: 0] += sizes[index]
                }
            }
            checks.append(done)
            perDay.append(done.reduce(0) { $0 + sizes[$1] })
        }
        return (checks, perDay)
    }

    @Test func `a rate is a share of everything a day`() {
        #expect(ScrubRate("14%/day")?.sharePerDay == 0.14)
        for text in ["", "14", "14%", "0%/day", "-1%/day", "101%/day", "x%/day", "14%/week", "nan%/day"] {
            #expect(ScrubRate(text) == nil, "\(text)")
        }
    }

    @Test(arguments: [1, 2, 3, 4])
    func `everything is covered in a week and a day, every week again, oldest first`(seed: UInt64) throws {
        var random = SystemRandomNumberGenerator()
        let sizes = (0..<200).map { _ in UInt64.random(in: 1...(seed == 4 ? 1_000_000_000 : 10_000), using: &random) }
        let (checks, fetched) = try simulate(sizes, "14%/day", days: 60)
        var last = [Int](repeating: -1, count: sizes.count)
        for (number, done) in checks.enumerated() {
            for index in done { last[index] = number }
            for index in sizes.indices where number >= 8 {
                #expect(number - last[index] <= 8, "archive \(index) on day \(number)")
            }
        }
        let total = sizes.reduce(0, +)
        for start in 0..<50 {
            let week = fetched[start..<start + 7].reduce(0, +)
            #expect(Double(week) <= 0.98 * Double(total) + 1)
        }
    }

    @Test func `an archive larger than a day's share waits until enough has come together, and does not starve`() throws
    {
        let (checks, _) = try simulate([700, 100, 100, 100], "14%/day", days: 90)
        let large = checks.indices.filter { checks[$0].contains(0) }
        #expect(large.count >= 7)
        // Not seven: its share has to come together while the others take theirs.
        #expect(zip(large, large.dropFirst()).allSatisfy { $1 - $0 <= 14 })
        // The only one there is.
        let (alone, _) = try simulate([1000], "14%/day", days: 40)
        let days = alone.indices.filter { !alone[$0].isEmpty }
        #expect(days.count >= 4 && zip(days, days.dropFirst()).allSatisfy { $1 - $0 <= 9 })
    }

    @Test func `no day fetches more than it may, and what never fits is said`() throws {
        let (_, fetched) = try simulate(
            [UInt64](repeating: 100, count: 50), "50%/day", egress: 450, days: 30, isRun: { $0 % 5 != 2 })
        #expect(fetched.allSatisfy { $0 <= 450 })
        #expect(fetched.contains(400))
        let names = try [identifier(0), identifier(1)]
        let items = [(names[0], UInt64(10)), (names[1], 500)].map {
            ScrubPlan.Item(identifier: $0.0, archiveByteCount: $0.1, createdAt: 0, checkedAt: nil)
        }
        let plan = try ScrubPlan(items, #require(ScrubRate("100%/day")), egressPerDay: 450, now: 0, fetched: [:])
        #expect(plan.whole == [names[0]] && plan.tooLarge == [names[1]])
    }

    @Test func `days that were missed are caught up with`() throws {
        let (checks, _) = try simulate([UInt64](repeating: 10, count: 100), "14%/day", days: 20) { $0 < 2 || $0 > 6 }
        #expect(checks[7].count > 60)
    }

    @Test func `a run checks what is due, remembers it, and finds damage`() throws {
        let bench = try EngineBench()
        let identifiers = try (0..<6).map { try bench.backUp(testImage(300_000, seed: UInt64($0))) }
        try bench.tamper(identifiers[2].archiveKey) { $0[$0.count / 2] ^= 1 }
        var random = SystemRandomNumberGenerator()
        let rate = try #require(ScrubRate("40%/day"))
        var bad: [BackupIdentifier] = []
        var checked: [BackupIdentifier] = []
        for _ in 0..<4 {
            let result = try bench.engine.scrub(Set(identifiers), rate, egressPerDay: nil, random: &random)
            #expect(result.failures.isEmpty)
            bad += result.reports.filter { !$0.isGood }.map(\.identifier)
            checked += result.reports.map(\.identifier)
            // On the same day there is nothing left to do.
            let again = try bench.engine.scrub(Set(identifiers), rate, egressPerDay: nil, random: &random)
            #expect(again.reports.isEmpty)
            bench.clock.advance(day)
        }
        #expect(Set(checked) == Set(identifiers))
        #expect(bad.contains(identifiers[2]) && Set(bad) == [identifiers[2]])
        let today = bench.clock.secondsSince1970 / day
        #expect(try bench.engine.catalog.scrubbed(since: today - 7).count == 4)
    }

    @Test func `frames at random are looked at between whole checks`() throws {
        let bench = try EngineBench()
        let identifiers = try (0..<40).map { try bench.backUp(testImage(200_000, seed: UInt64($0))) }
        var random = SystemRandomNumberGenerator()
        let rate = try #require(ScrubRate("50%/day"))
        var sampled = 0
        for _ in 0..<3 {
            sampled += try bench.engine.scrub(Set(identifiers), rate, egressPerDay: nil, random: &random).sampledFrames
            bench.clock.advance(day)
        }
        #expect(sampled > 0)
        #expect(try identifiers.contains { try bench.engine.catalog.samples($0) != nil })
    }
}
