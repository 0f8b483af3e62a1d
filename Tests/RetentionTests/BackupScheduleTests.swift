import Foundation
import Retention
import Testing

@Suite("Windows and schedules", .timeLimit(.minutes(1)))
struct BackupScheduleTests {
    /// Every five minutes, with nothing but the clock on the wall.
    @Test(
        arguments: [
            ("22:00-06:00", nil, "Europe/Berlin"), ("02:00-03:00", nil, "Europe/Berlin"),
            ("02:30-02:45", nil, "America/New_York"),
            ("01:30-02:30", "sat-sun", "Australia/Lord_Howe"), ("00:00-24:00", "mon,wed", "Asia/Kathmandu"),
            ("23:00-01:00", nil, "Pacific/Apia"), ("00:00-00:30", nil, "America/Sao_Paulo"),
        ] as [(String, String?, String)])
    func `a window is open when the wall clock says so`(text: String, days: String?, zone: String) throws {
        let window = try BackupWindow(text, weekdays: days, timeZone: zone)
        // Brazil's clocks jumped at midnight until 2019; Samoa left a day out at the end of 2011.
        let start: Int64 =
            zone == "Pacific/Apia" ? 1_317_427_200 : zone == "America/Sao_Paulo" ? 1_530_403_200 : 1_767_225_600
        var next = window.next(after: start)
        var openBefore = window.occurrence(at: start)
        for time in stride(from: start + 300, to: start + 400 * 86_400, by: 300) {
            let open = window.occurrence(at: time)
            if let open {
                #expect(open.contains(time))
                if open != openBefore {
                    // One begins: it is the one that was foretold.
                    if openBefore == nil || open.lowerBound != openBefore?.lowerBound {
                        guard open == next else {
                            Issue.record("\(time): \(open), foretold \(next)")
                            return
                        }
                        next = window.next(after: open.lowerBound)
                    }
                }
            }
            openBefore = open
            // Away from a change of the clocks the wall clock decides.
            let offsets = Set([-7200, 0, 7200].map { zoneOffset(window.timeZone, time + $0) })
            guard offsets.count == 1 else { continue }
            let minute = Int((time + zoneOffset(window.timeZone, time)) % 86_400) / 60
            let (from, to) = (window.startMinute, window.endMinute)
            let today = LocalDate(time, in: window.timeZone)
            let isInside = from < to ? minute >= from && minute < to : minute >= from || minute < to
            let day = from < to || minute >= from ? today : today.advanced(by: -1)
            let expected = isInside && window.weekdays.contains(day.weekday)
            guard expected == (open != nil) else {
                // The night before a day that was left out, or after it, has its own end.
                if zone == "Pacific/Apia", abs(time - 1_325_239_200) < 2 * 86_400 { continue }
                Issue.record("\(time): open \(String(describing: open)), expected \(expected)")
                return
            }
        }
    }

    private func zoneOffset(_ zone: TimeZone, _ time: Int64) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(time))))
    }

    @Test func `a time that does not exist, or exists twice`() throws {
        // Berlin, 2026-03-29 02:00 → 03:00 (01:00 UTC) and 2026-10-25 03:00 → 02:00.
        let spring = LocalDate(year: 2026, month: 3, day: 29)
        let autumn = LocalDate(year: 2026, month: 10, day: 25)
        let change: Int64 = 1_774_746_000
        let gap = try BackupWindow("02:15-02:45", timeZone: "Europe/Berlin")
        #expect(gap.occurrence(on: spring) == change..<change + 1800)
        let after = try BackupWindow("02:30-04:00", timeZone: "Europe/Berlin")
        #expect(after.occurrence(on: spring) == change..<change + 3600)
        let twice = try BackupWindow("02:15-02:45", timeZone: "Europe/Berlin")
        // 02:15 summer time is 00:15 UTC, 02:45 winter time 01:45 UTC.
        #expect(twice.occurrence(on: autumn) == 1_792_887_300..<1_792_892_700)
    }

    @Test(
        arguments: [
            ("03:00-03:00", nil, "UTC", RetentionError.Subject.window), ("25:00-26:00", nil, "UTC", .window),
            ("3-4", nil, "UTC", .window), ("24:00-02:00", nil, "UTC", .window), ("02:00-00:00x", nil, "UTC", .window),
            ("02:60-03:00", nil, "UTC", .window), ("", nil, "UTC", .window),
            ("02:00-03:00", "mon,funday", "UTC", .weekdays),
            ("02:00-03:00", "", "UTC", .weekdays), ("02:00-03:00", nil, "Europe/Berlyn", .timeZone),
            ("02:00-03:00", nil, "", .timeZone), ("02:00-03:00", nil, "GMT+25", .timeZone),
        ] as [(String, String?, String, RetentionError.Subject)])
    func `a window that cannot be is refused`(
        text: String, days: String?, zone: String, subject: RetentionError.Subject
    ) {
        let error = #expect(throws: RetentionError.self) { try BackupWindow(text, weekdays: days, timeZone: zone) }
        #expect(error?.subject == subject)
    }

    private let window = try! BackupWindow("22:00-06:00", timeZone: "Europe/Berlin")
    /// 2026-11-20T21:00Z, 22:00 in Berlin.
    private let opens: Int64 = 1_795_208_400

    private func decide(_ history: RunHistory, _ policy: RetentionPolicy = .gfs, at now: Int64, seed: UInt64 = 1)
        -> RunDecision
    {
        RunDecision.decide(policy: policy, window: window, history: history, seed: seed, now: now)
    }

    @Test func `a run is due from its moment to the window's end, once`() {
        var dueAt: Int64?
        for now in stride(from: opens - 3600, to: opens + 9 * 3600, by: 60) {
            switch decide(RunHistory(lastGoodAt: opens - 86_000), at: now) {
            case .waits(let until, .window):
                #expect(now < opens || now >= opens + 8 * 3600)
                #expect(until == (now < opens ? opens : opens + 86_400))
            case .waits(let until, .moment): #expect(until < opens + 6 * 3600 && dueAt == nil && until > now)
            case .due(let catchesUp):
                #expect(!catchesUp)
                dueAt = dueAt ?? now
            case let other: Issue.record("\(other) at \(now)")
            }
        }
        let due = dueAt ?? 0
        #expect(due >= opens && due < opens + 6 * 3600 + 60)
        #expect(decide(RunHistory(lastGoodAt: due), at: due + 60) == .waits(until: opens + 86_400, .done))
    }

    @Test func `moments are spread over three quarters of the window`() {
        let moments = (0..<1000).map { seed -> Int64 in
            guard case .waits(let until, .moment) = decide(RunHistory(), at: opens, seed: UInt64(seed)) else {
                return opens
            }
            return until
        }
        let hours = Dictionary(grouping: moments) { ($0 - opens) / 3600 }.mapValues(\.count)
        #expect(Set(hours.keys) == Set(0...5))
        #expect(hours.values.allSatisfy { $0 > 100 })
    }

    @Test func `what was missed is made up for at once, and once`() {
        let history = RunHistory(lastGoodAt: opens - 10 * 86_400)
        #expect(decide(history, at: opens) == .due(catchesUp: true))
        #expect(decide(RunHistory(lastGoodAt: opens), at: opens + 60) == .waits(until: opens + 86_400, .done))
        // Not outside its window.
        #expect(decide(history, at: opens - 60) == .waits(until: opens, .window))
    }

    @Test func `after failures it waits, longer each time, and a new window is a new beginning`() {
        var waits: [Int64] = []
        for count in 1...8 {
            let failed = opens + 6 * 3600
            let history = RunHistory(lastGoodAt: opens - 3 * 86_400, lastFailedAt: failed, failureCount: count)
            if case .waits(let until, .backOff) = decide(history, at: failed) { waits.append(until - failed) }
            #expect(decide(history, at: opens + 86_400) == .due(catchesUp: true))
        }
        #expect(waits == [300, 600, 1200, 2400, 4800, 9600, 14_400, 14_400])
    }

    @Test func `a clock that was set back stops nothing for longer than a window`() {
        let later = opens + 40 * 86_400
        #expect(decide(RunHistory(lastGoodAt: later), at: opens + 7 * 3600) == .due(catchesUp: false))
    }

    @Test func `a weekly policy runs once in a week, in the first window that is open`() {
        let policy = RetentionPolicy(daily: 0, weekly: 4)
        // 2026-11-20 is a Friday; the next week's first window begins on Monday, the 23rd.
        #expect(
            decide(RunHistory(lastGoodAt: opens), policy, at: opens + 3600) == .waits(until: opens + 86_400, .done))
        #expect(
            decide(RunHistory(lastGoodAt: opens), policy, at: opens + 86_400)
                == .waits(until: opens + 2 * 86_400, .done))
        let monday = opens + 3 * 86_400
        guard case .waits(_, .moment) = decide(RunHistory(lastGoodAt: opens), policy, at: monday) else {
            return #expect(decide(RunHistory(lastGoodAt: opens), policy, at: monday) == .due(catchesUp: false))
        }
        #expect(decide(RunHistory(), .off, at: opens) == .off)
    }

    @Test func `random targets are spread evenly, and one that is away is left out`() throws {
        var counts = ["a": 0, "b": 0, "c": 0]
        for seed in 0..<3000 as Range<UInt64> {
            let candidates = counts.map {
                TargetSpread(name: $0.key, recentRunCount: $0.value, isAvailable: $0.key != "c" || seed % 2 == 0)
            }
            let chosen = try #require(TargetSpread.choose(candidates, seed: seed))
            #expect(chosen != "c" || seed % 2 == 0)
            counts[chosen, default: 0] += 1
        }
        #expect(counts.values.allSatisfy { abs($0 - 1000) <= 2 }, "\(counts)")
        #expect(TargetSpread.choose([TargetSpread(name: "a", recentRunCount: 0, isAvailable: false)], seed: 1) == nil)
        // Among equals every one has its turn.
        let equals = ["a", "b", "c"].map { TargetSpread(name: $0, recentRunCount: 7, isAvailable: true) }
        #expect(Set((0..<50 as Range<UInt64>).map { TargetSpread.choose(equals, seed: $0) }).count == 3)
    }

    @Test func `a plan that removes too much is refused, unless there is little`() {
        #expect(PruneGuard(removedCount: 11, count: 20).refuses(maximumShare: 0.5))
        #expect(!PruneGuard(removedCount: 10, count: 20).refuses(maximumShare: 0.5))
        #expect(!PruneGuard(removedCount: 15, count: 19).refuses(maximumShare: 0.5))
        #expect(MinimumDuration(days: 90).secondsLeft(age: 30 * 86_400) == 60 * 86_400)
        #expect(MinimumDuration(days: 90).secondsLeft(age: 91 * 86_400) == 0)
        #expect(MinimumDuration(days: 0).secondsLeft(age: -5) == 0)
    }
}
