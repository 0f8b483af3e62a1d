import BackupEngine
import BackupNames
internal import Catalog
import Testing

@Suite("The status of disks")
struct ResourceStatusTests {
    private func backup(
        _ createdAt: Int64, on backend: String = "near", vm: String = "web", size: UInt64 = 1000
    ) throws -> BackupSummary {
        BackupSummary(
            identifier: BackupIdentifier(
                backend: try ResourceName(backend), org: try ResourceName("acme"), vm: try ResourceName(vm),
                date: BackupDate(secondsSince1970: createdAt), disk: try ResourceName("disk")),
            rawByteCount: size, archiveByteCount: 1, dataByteCount: 1, createdAt: createdAt)
    }

    private func drill(_ backup: BackupSummary, at time: Int64, _ outcome: String = RunRecord.good) -> RunRecord {
        RunRecord(
            kind: .drill, identifier: backup.identifier, startedAt: time, outcome: outcome, detail: "",
            rawByteCount: 1000, fetchedByteCount: 1, totalMilliseconds: 5000)
    }

    private func check(_ at: Int64, _ depth: CheckDepth, _ outcome: String = CheckRecord.good) -> CheckRecord {
        CheckRecord(
            depth: depth, checkedAt: at, goodAt: outcome == CheckRecord.good ? at : nil, outcome: outcome, detail: "")
    }

    private func status(
        _ backups: [BackupSummary], checks: [BackupIdentifier: [CheckRecord]] = [:], drills: [RunRecord] = [],
        rates: [String: Double] = [:]
    ) throws -> ResourceStatus {
        func byDisk(_ runs: [RunRecord]) -> [DiskName: RunRecord] {
            Dictionary(runs.map { ($0.identifier.diskName, $0) }, uniquingKeysWith: { $1 })
        }
        let list = ResourceStatus.list(
            backups.reversed(), checks: checks, drills: byDisk(drills), goodDrills: byDisk(drills.filter(\.isGood)),
            bytesPerSecond: Dictionary(uniqueKeysWithValues: try rates.map { (try ResourceName($0), $1) }))
        return try #require(list.first)
    }

    private let day = StatusThresholds(recoveryPoint: 100, verify: 200, drill: 300)

    @Test func `the newest good backup counts, at whichever backend`() throws {
        let (old, newer, newest) = (try backup(10), try backup(20, on: "far"), try backup(30))
        let bad = [newest.identifier: [check(40, .raw, "damaged")]]
        let found = try status([old, newer, newest], checks: bad)
        #expect(found.lastGood == newer && found.newest == newest && found.badBackups == [newest.identifier])
        #expect(found.recoveryPoint(now: 50) == 30)
        #expect(found.places.map(\.backend.description) == ["far", "near"])
        #expect(found.places.map(\.backupCount) == [1, 2] && found.places.map(\.lastGood) == [newer, old])
        #expect(found.failures == ["\(newest.identifier) is bad"])
        let none = try status([newest], checks: bad)
        #expect(none.lastGood == nil && none.recoveryPoint(now: 50) == nil)
        #expect(none.overdue(now: 41, day).first == .recoveryPoint)
    }

    @Test func `RTO is measured by a drill, else estimated from the backend of the backup that would be restored`()
        throws
    {
        let (near, far) = (try backup(10, size: 8000), try backup(20, on: "far", size: 4000))
        let rates = ["near": 1000.0, "far": 100.0]
        #expect(try status([near, far], rates: rates).recoveryTime == .estimated(milliseconds: 40_000))
        #expect(try status([near], rates: rates).recoveryTime == .estimated(milliseconds: 8000))
        #expect(try status([near], rates: ["far": 1]).recoveryTime == .unknown)
        let drilled = try status([near, far], drills: [drill(near, at: 5)], rates: rates)
        #expect(drilled.recoveryTime == .measured(milliseconds: 5000))
        let failed = try status([near, far], drills: [drill(near, at: 5, "damaged")], rates: rates)
        #expect(failed.recoveryTime == .estimated(milliseconds: 40_000))
        #expect(failed.failures == ["the last drill failed: damaged"])
    }

    @Test func `each care is overdue after its limit, at once if it never was, and never without a limit`() throws {
        let only = try backup(1000)
        let cared = try status(
            [only], checks: [only.identifier: [check(1000, .archive)]], drills: [drill(only, at: 1000)])
        #expect(cared.overdue(now: 1100, day) == [])
        #expect(cared.overdue(now: 1101, day) == [.recoveryPoint])
        #expect(cared.overdue(now: 1201, day) == [.recoveryPoint, .verify])
        #expect(cared.overdue(now: 1301, day) == OverdueCare.allCases)
        #expect(cared.overdue(now: 9_999, StatusThresholds(recoveryPoint: nil, verify: nil, drill: nil)) == [])
        let presence = [only.identifier: [check(1000, .presence)]]
        #expect(try status([only], checks: presence).overdue(now: 1000, day) == [.verify, .drill])
        #expect(try status([only], drills: [drill(only, at: 1000, "damaged")]).overdue(now: 1, day).contains(.drill))
    }

    @Test func `an older backup that was verified counts for its disk`() throws {
        let (old, new) = (try backup(10), try backup(20))
        let found = try status([old, new], checks: [old.identifier: [check(15, .raw)]])
        #expect(found.verifiedAt == 15 && found.newestChecks.isEmpty)
    }

    @Test func `disks come by name, one line each`() throws {
        let list = ResourceStatus.list(
            [try backup(1, vm: "b"), try backup(2, vm: "a"), try backup(3, vm: "b")], checks: [:], drills: [:],
            goodDrills: [:], bytesPerSecond: [:])
        #expect(list.map(\.disk.description) == ["acme/a/disk", "acme/b/disk"])
        #expect(list.map(\.backupCount) == [1, 2])
    }

    @Test(.timeLimit(.minutes(1)))
    func `the engine tells it from its catalog: estimated by a restore, then measured by a drill`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(2_000_000, seed: 3))
        let engine = bench.engine
        #expect(try engine.resources().map(\.recoveryTime) == [.unknown])
        _ = try engine.recordingRestore(of: identifier) { try engine.restore(identifier, to: bench.folder + "/out") }
        let restored = try #require(try engine.catalog.runs().first).totalMilliseconds
        let estimate = try #require(try engine.resources().first?.recoveryTime)
        #expect(estimate.source == "estimated")
        #expect(estimate.milliseconds == max(1, restored))
        let report = try engine.drill(identifier, to: .null)
        let found = try #require(try engine.resources().first)
        #expect(found.recoveryTime == .measured(milliseconds: report.record.totalMilliseconds))
        #expect(found.verifiedAt == bench.clock.secondsSince1970 && found.failures.isEmpty)
        #expect(found.overdue(now: bench.clock.secondsSince1970, .standard).isEmpty)
    }
}
