import BackupEngine
import BackupNames
import Catalog
import Foundation
import Logging
import OrgKeys
import Retention
import Snapshots
import Storage
import StorageTesting
import Synchronization
import Testing

@testable import Agent

@Suite("Snapshots that the agent makes", .timeLimit(.minutes(2)))
struct SnapshotAgentTests {
    private static let day: Int64 = 86_400
    /// A Monday, 2027-01-18, noon.
    private static let start: Int64 = 1_800_273_600

    private let folder: String
    private let clock = SimulatedClock(Self.start)
    private let engine: Engine
    private let snapshots: Snapshots
    private let disk: DiskName

    init() throws {
        folder = "/tmp/holdfast-snapshot-agent-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: folder + "/pool", withIntermediateDirectories: true)
        try Data([UInt8](repeating: 3, count: 10_000)).write(to: URL(fileURLWithPath: folder + "/pool/web.raw"))
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        // No backend is a DR backend.
        engine = Engine(
            catalog: try Catalog(path: folder + "/catalog.sqlite"),
            backends: [Backend(name: try ResourceName("local"), store: InMemoryStore())],
            keys: KeyDirectory(path: folder + "/keys"), orgs: [try ResourceName("acme"): OrgSettings()], clock: clock,
            log: log)
        snapshots = Snapshots(
            [SnapshotPool(name: try ResourceName("fast"), path: folder + "/pool")], catalog: engine.catalog,
            clock: clock, log: log)
        disk = DiskName(org: try ResourceName("acme"), vm: try ResourceName("web"), disk: try ResourceName("disk"))
    }

    private func end() {
        engine.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private func agent(
        _ cadence: RetentionClass = .daily, keep: Int = 3, window: BackupWindow = .allDay
    ) throws -> SnapshotAgent {
        let (snapshots, disk, path, clock) = (snapshots, disk, folder + "/pool/web.raw", clock)
        let fails = FailureSwitch(self)
        return SnapshotAgent(
            snapshots,
            [
                SnapshotDisk(
                    name: disk, pool: try ResourceName("fast"), cadence: cadence, keep: keep, window: window
                ) { progress in
                    if fails.isOn { throw EngineError(.source, "nobody can read it") }
                    return try snapshots.create(snapshots.image(of: disk, source: path), progress: progress) {
                        (try ImageFile.open(path, consistentAt: clock.secondsSince1970), {})
                    }
                }
            ], clock: clock, log: snapshots.log)
    }

    /// Whether the disk's image cannot be read now.
    private final class FailureSwitch: Sendable {
        private let path: String

        init(_ tests: SnapshotAgentTests) { path = tests.folder + "/fails" }

        var isOn: Bool {
            get { FileManager.default.fileExists(atPath: path) }
            set {
                if newValue {
                    _ = FileManager.default.createFile(atPath: path, contents: nil)
                } else {
                    try? FileManager.default.removeItem(atPath: path)
                }
            }
        }
    }

    private func run(_ agent: SnapshotAgent) throws -> [String] { try agent.runDue { false }.map(\.outcome) }

    private func dates() throws -> [String] {
        try snapshots.all().map { String("\($0.identifier.date)".prefix(10)) }
    }

    @Test func `one a day is made, without any DR backend, and the newest so many stay`() throws {
        defer { end() }
        let agent = try agent()
        for _ in 0..<6 {
            // In the last quarter of its window every moment has come.
            clock.secondsSince1970 = (clock.secondsSince1970 / Self.day) * Self.day + Self.day * 9 / 10
            #expect(try run(agent) == ["good"])
            #expect(try run(agent).isEmpty)
            clock.secondsSince1970 += Self.day
        }
        #expect(try dates() == ["2027-01-21", "2027-01-22", "2027-01-23"])
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder + "/pool/.holdfast-snapshots/acme/web/disk")
                .count == 7)
        let runs = try engine.catalog.backupRuns()
        #expect(
            runs.count == 6
                && runs.allSatisfy { $0.kind == .snapshot && $0.place.description == "fast" && $0.date != nil })
    }

    @Test func `once a week is once a week, inside the window`() throws {
        defer { end() }
        let agent = try agent(.weekly, window: BackupWindow("12:00-14:00"))
        var made = 0
        for hour in 0..<(24 * 21) {
            clock.secondsSince1970 = Self.start + Int64(hour) * 3600 + 1800
            made += try run(agent).count
        }
        #expect(made == 3 || made == 4)
        #expect(try dates().count == 3)
        for record in try snapshots.all() {
            #expect((12..<14).contains(record.createdAt / 3600 % 24))
        }
    }

    @Test func `a failure is written down, waited after, and made up for`() throws {
        defer { end() }
        let agent = try agent()
        let fails = FailureSwitch(self)
        clock.secondsSince1970 = Self.start + 9 * 3600
        fails.isOn = true
        #expect(try run(agent) == ["source"] && run(agent).isEmpty)
        let outlook = try #require(try agent.outlook().first)
        #expect(outlook.failureCount == 1 && outlook.lastGoodAt == nil)
        #expect(outlook.decision == .waits(until: clock.secondsSince1970 + 300, .backOff))
        #expect(try agent.wakesAt() == clock.secondsSince1970 + 300)
        clock.secondsSince1970 += 301
        #expect(try run(agent) == ["source"])
        fails.isOn = false
        clock.secondsSince1970 += 601
        #expect(try run(agent) == ["good"])
        #expect(try agent.outlook().first?.failureCount == 0)
    }

    @Test func `one that is told to stop is given up, and that is no failure of the disk`() throws {
        defer { end() }
        let agent = try agent()
        clock.secondsSince1970 = Self.start + 9 * 3600
        let asked = Mutex(0)
        // The first question is asked before the run begins.
        let results = try agent.runDue {
            asked.withLock { $0 += 1 }
            return asked.withLock { $0 > 1 }
        }
        #expect(results.map(\.outcome) == ["cancelled"])
        #expect(try snapshots.all().isEmpty && agent.outlook().first?.failureCount == 0)
    }

    // MARK: No figure of a backup counts a snapshot

    @Test func `snapshots and their runs change nothing for backups of the disk`() throws {
        defer { end() }
        let before = try engine.history(of: disk)
        let fails = FailureSwitch(self)
        let agent = try agent()
        for round in 0..<40 {
            clock.secondsSince1970 += Self.day
            fails.isOn = round % 2 == 0
            _ = try run(agent)
        }
        #expect(try !snapshots.all().isEmpty)
        #expect(try engine.history(of: disk) == before)
        #expect(try engine.resources().isEmpty, "no last good backup, no RPO, no RTO")
        #expect(try engine.orgsWithoutBackup(engine.resources()).map(\.description) == ["acme"])
        #expect(try engine.retainedBackups(of: disk).isEmpty)
        let plan = try engine.prunePlan(of: disk, .gfs, in: BackupWindow.allDay.timeZone)
        let outcomes = try engine.prune([plan], maximumShare: 1, isForced: true)
        #expect(outcomes.isEmpty)
        let backup = AutomaticDisk(
            name: disk, policy: .basic, window: .allDay, targets: [try ResourceName("local")]
        ) { throw EngineError(.source, "not read here") }
        let outlook = try #require(try AgentOutlook.list(engine, [backup]).first)
        #expect(outlook.lastGoodAt == nil && outlook.failureCount == 0)
    }

    @Test func `a running agent makes them beside the backups, and an interrupted run is told by the next`() throws {
        defer { end() }
        clock.secondsSince1970 = Self.start + 9 * 3600
        var left = BackupRunRecord(
            kind: .snapshot, disk: disk, place: try ResourceName("fast"), startedAt: 5, catchesUp: false,
            ownerProcess: 1, ownerStartTicks: 1, ownerBootIdentifier: "another boot")
        left.id = try engine.catalog.beginRun(left)
        let agent = try Agent(engine, [])
        defer { agent.close() }
        #expect(try engine.catalog.backupRuns().map(\.outcome) == [BackupRunRecord.interrupted])
        func runOnce() throws -> [BackupRunRecord] {
            try AgentService(agent, snapshots: self.agent()).run(once: true)
        }
        #expect(try runOnce().isEmpty, "it waits five minutes after one that failed")
        clock.secondsSince1970 += 301
        let results = try runOnce()
        #expect(results.map(\.kind) == [.snapshot] && results.allSatisfy(\.isGood))
    }
}
