import Agent
import BackupNames
import Foundation
import Retention
import Testing

/// A year of the agent in half a minute: the real engine and catalog, stores in memory, a clock that jumps. Stores go away for hours, single
/// requests fail, the process is killed between runs and in the middle of them, and each day is looked at from outside.
@Suite("A simulated year", .timeLimit(.minutes(5)))
struct SimulatedYearTests {
    @Test
    func `through failures, outages and kills policies hold each day, caps hold, and nothing is left lying about`()
        throws
    {
        // Another year: HOLDFAST_SEED=1.
        let seed = ProcessInfo.processInfo.environment["HOLDFAST_SEED"].flatMap { UInt64($0) } ?? 2026
        let year = try SimulatedYear(seed: seed)
        try year.live(days: 365)
        try year.pruneEverything()

        // It was no fine year.
        #expect(year.killCount > 10 && year.killInRunCount > 10 && year.outageCount > 20 && year.failureCount > 30)
        for disk in year.host.disks {
            let starts = year.ledgers[disk.name]?.starts ?? []
            let cadence = try #require(disk.policy.cadence)
            let periods = starts.compactMap { start in
                disk.window.latest(at: start).map { cadence.period(of: disk.window.day(of: $0)) }
            }
            #expect(Set(periods).count == starts.count, "\(disk.name) was backed up twice in a \(cadence.unit)")
            let least =
                switch cadence {
                case .daily: 310
                case .weekly: 48
                case .monthly: 10
                case .yearly: 1
                }
            let count = year.ledgers[disk.name]?.points.count ?? 0
            #expect(count >= least, "\(disk.name) was backed up only \(count) times")
        }
        // Of those that go anywhere each backend has its share.
        let counts = year.runsAt.values
        let (most, fewest) = (counts.max() ?? 0, counts.min() ?? 0)
        #expect(Double(fewest) > 0.8 * Double(most), "\(year.runsAt)")
    }
}
