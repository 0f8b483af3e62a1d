import BackupNames
import Catalog
import Testing

@Suite("Removals, holds, runs of the agent and leases in the catalog", .timeLimit(.minutes(1)))
struct RemovalAndHoldTests {
    private let folder: TemporaryFolder
    private let catalog: Catalog
    private let record: BackupRecord

    init() throws {
        folder = try TemporaryFolder()
        catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        record = try BackupRecord.sample()
        try catalog.register(record, finishing: nil)
    }

    @Test func `from its mark on nobody sees a backup, and its name stays taken`() throws {
        let identifier = record.identifier
        #expect(try catalog.beginRemoval(record.place, at: 7))
        #expect(try catalog.beginRemoval(record.place, at: 8) == false)
        #expect(try catalog.allBackups().isEmpty && catalog.backup(identifier) == nil)
        #expect(try catalog.access(identifier) == nil)
        #expect(try catalog.orgs(backend: identifier.backend).isEmpty)
        #expect(try catalog.vms(backend: identifier.backend, org: identifier.org).isEmpty)
        #expect(try catalog.dates(backend: identifier.backend, org: identifier.org, vm: identifier.vm).isEmpty)
        #expect(
            try catalog.latest(
                backend: identifier.backend, org: identifier.org, vm: identifier.vm, disk: identifier.disk) == nil)
        #expect(
            try catalog.copiedBackups(backend: identifier.backend, org: identifier.org, after: nil, limit: 9).isEmpty)
        #expect(try catalog.removingBackups().map(\.since) == [7])
        #expect(try catalog.claimUpload(.sample(), for: identifier) == nil)
        // A look at the backend, where the sidecar still is, does not bring it back.
        #expect(try catalog.takeIn(record, from: "key", replacing: false) == .exists)
        #expect(try catalog.allBackups().isEmpty)

        try catalog.cancelRemoval(record.place, lockedUntil: 99)
        #expect(try catalog.backup(identifier)?.lockedUntil == 99)
        #expect(try catalog.access(identifier)?.lockedUntil == 99)
        try catalog.setLockedUntil(identifier, nil)
        #expect(try catalog.backup(identifier)?.lockedUntil == nil)
        #expect(try catalog.access(identifier) == record)
        #expect(try catalog.beginRemoval(record.place, at: 9))
        #expect(try catalog.remove(record.place))
        #expect(try catalog.removingBackups().isEmpty)
    }

    @Test func `a backup of another generation is not marked`() throws {
        let other = BackupPlace(record.identifier, generation: 1)
        #expect(try catalog.beginRemoval(other, at: 7) == false)
        #expect(try catalog.allBackups().count == 1)
    }

    @Test func `of a hold and a removal the first one wins, and a hold outlives the row`() throws {
        let hold = HoldRecord(identifier: record.identifier, heldAt: 5, reason: "case 12")
        #expect(try catalog.addHold(hold))
        #expect(try catalog.beginRemoval(record.place, at: 7) == false)
        #expect(try catalog.addHold(HoldRecord(identifier: record.identifier, heldAt: 6, reason: "")))
        #expect(try catalog.holds() == [hold])
        try catalog.remove(record.identifier)
        #expect(try catalog.holds() == [hold])
        try catalog.removeHold(record.identifier)
        try catalog.removeHold(record.identifier)
        #expect(try catalog.holds().isEmpty)
        try catalog.register(record, finishing: nil)
        #expect(try catalog.beginRemoval(record.place, at: 7))
        #expect(try catalog.addHold(hold) == false)
        #expect(try catalog.holds().isEmpty)
    }

    private func run(_ start: Int64, disk: String = "disk") throws -> BackupRunRecord {
        BackupRunRecord(
            kind: .backup,
            disk: DiskName(org: try ResourceName("acme"), vm: try ResourceName("web"), disk: try ResourceName(disk)),
            place: try ResourceName("dr"), startedAt: start, catchesUp: false, ownerProcess: 1, ownerStartTicks: 2,
            ownerBootIdentifier: "b")
    }

    @Test func `a run is under way until it is said to have ended`() throws {
        var first = try run(10)
        first.id = try catalog.beginRun(first)
        var other = try run(20, disk: "data")
        other.id = try catalog.beginRun(other)
        #expect(try catalog.runningBackupRuns() == [first, other])
        first.endedAt = 15
        first.outcome = BackupRunRecord.good
        first.date = try BackupDate("2026-11-20T02-00-00Z")
        first.rawByteCount = 1 << 40
        first.storedByteCount = 1 << 30
        try catalog.endRun(first)
        #expect(try catalog.runningBackupRuns() == [other])
        #expect(try catalog.backupRuns() == [other, first])
        #expect(try catalog.backupRuns(of: first.disk) == [first])
    }

    @Test func `the newest thousand runs of a disk are kept`() throws {
        for start in 0..<1005 { _ = try catalog.beginRun(run(Int64(start))) }
        _ = try catalog.beginRun(run(0, disk: "data"))
        let runs = try catalog.backupRuns(of: run(0).disk)
        #expect(runs.count == 1000 && runs.last?.startedAt == 5)
        #expect(try catalog.backupRuns().count == 1001)
    }

    private func lease(_ owner: Int32, until end: Int64) -> LeaseRecord {
        LeaseRecord(name: "x", expiresAt: end, ownerProcess: owner, ownerStartTicks: 1, ownerBootIdentifier: "b")
    }

    @Test func `a lease is one owner's until it expires, he is gone, or gives it back`() throws {
        func take(_ lease: LeaseRecord, at now: Int64, alive: Bool = true) throws -> LeaseRecord? {
            try catalog.takeLease(lease, now: now) { _ in alive }
        }
        let first = lease(1, until: 100)
        #expect(try take(first, at: 0) == nil)
        #expect(try take(lease(2, until: 200), at: 99) == first)
        let renewed = lease(1, until: 150)
        #expect(try take(renewed, at: 99) == nil)
        #expect(try take(lease(2, until: 200), at: 100) == renewed)
        #expect(try take(lease(2, until: 200), at: 150) == nil)
        // Who was too late gives nothing back that is another's.
        try catalog.endLease(renewed)
        #expect(try catalog.leases() == [lease(2, until: 200)])
        #expect(try take(lease(3, until: 300), at: 160, alive: false) == nil)
        try catalog.endLease(lease(3, until: 300))
        #expect(try catalog.leases().isEmpty)
    }
}
