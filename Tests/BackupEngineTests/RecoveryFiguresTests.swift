import BackupEngine
import Testing

@Suite("The arithmetic of RPO and RTO")
struct RecoveryFiguresTests {
    private func sample(_ bytes: UInt64, _ milliseconds: Int64) -> RecoveryFigures.Sample {
        RecoveryFigures.Sample(rawByteCount: bytes, milliseconds: milliseconds)
    }

    @Test func `without a run nothing is known of a backend's speed`() {
        #expect(RecoveryFigures.bytesPerSecond([RecoveryFigures.Sample]()) == nil)
        #expect(RecoveryFigures.bytesPerSecond([sample(0, 10)]) == nil)
    }

    @Test func `the speed is the median, the mean of the middle two where there is none`() {
        #expect(RecoveryFigures.bytesPerSecond([sample(2000, 1000)]) == 2000)
        #expect(RecoveryFigures.bytesPerSecond([sample(1000, 1000), sample(9000, 1000), sample(1, 1000)]) == 1000)
        #expect(RecoveryFigures.bytesPerSecond([sample(1000, 1000), sample(3000, 1000)]) == 2000)
    }

    @Test func `only the newest twenty runs count, and one of no bytes is none of them`() {
        let newest = [sample(0, 5)] + (0..<20).map { _ in sample(500, 1000) }
        #expect(RecoveryFigures.bytesPerSecond(newest + (0..<100).map { _ in sample(9_000_000, 1) }) == 500)
    }

    @Test func `a run too short for the clock is no division by zero`() {
        #expect(RecoveryFigures.bytesPerSecond([sample(100, 0)]) == 100_000)
    }

    @Test func `a drill's time is the RTO, whatever an estimate would say`() {
        let time = RecoveryFigures.recoveryTime(rawByteCount: 1 << 40, measuredMilliseconds: 77, bytesPerSecond: 1)
        #expect(time == .measured(milliseconds: 77) && time.source == "measured" && time.milliseconds == 77)
    }

    @Test func `without a drill it is the size by the backend's speed, at least a millisecond`() {
        func estimate(_ bytes: UInt64, _ rate: Double?) -> RecoveryTime {
            RecoveryFigures.recoveryTime(rawByteCount: bytes, measuredMilliseconds: nil, bytesPerSecond: rate)
        }
        #expect(estimate(10_000, 1000) == .estimated(milliseconds: 10_000))
        #expect(estimate(10_001, 1000) == .estimated(milliseconds: 10_001))
        #expect(estimate(1, 3000) == .estimated(milliseconds: 1))
        #expect(estimate(0, 3000) == .estimated(milliseconds: 1))
        #expect(estimate(.max, 0.001) == .estimated(milliseconds: 1 << 53))
        #expect(estimate(10, nil) == .unknown && estimate(10, 0) == .unknown)
        #expect(RecoveryTime.unknown.milliseconds == nil && RecoveryTime.unknown.source == "unknown")
    }

    @Test func `RPO is now less the consistent point, and nothing for a backup of a faster clock`() {
        #expect(RecoveryFigures.recoveryPoint(createdAt: 100, now: 4_000_000_123) == 4_000_000_023)
        #expect(RecoveryFigures.recoveryPoint(createdAt: 100, now: 100) == 0)
        #expect(RecoveryFigures.recoveryPoint(createdAt: 101, now: 100) == 0)
        #expect(RecoveryFigures.recoveryPoint(createdAt: .min, now: .max) == .max)
        #expect(RecoveryFigures.recoveryPoint(createdAt: .max, now: .min) == 0)
    }
}
