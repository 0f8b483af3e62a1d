import BackupNames
import Catalog
import Testing

@Suite("Snapshots in the catalog", .timeLimit(.minutes(1)))
struct SnapshotRecordTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func record(
        _ date: String, pool: String = "fast", vm: String = "web", disk: String = "disk", size: UInt64 = 10
    ) throws -> SnapshotRecord {
        let date = try BackupDate(date)
        return SnapshotRecord(
            identifier: SnapshotIdentifier(
                pool: try ResourceName(pool), org: try ResourceName("acme"), vm: try ResourceName(vm), date: date,
                disk: try ResourceName(disk)),
            createdAt: date.secondsSince1970, origin: "/srv/\(vm).raw", consistency: "reflink", rawByteCount: size,
            dataByteCount: size / 2, rawSHA256: [UInt8](repeating: 7, count: 32))
    }

    @Test func `what is registered is found, in order of time, by disk, and folder by folder`() throws {
        let catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        let late = try record("2026-11-22T00-00-00Z")
        let early = try record("2026-11-21T00-00-00Z")
        let data = try record("2026-11-21T00-00-00Z", disk: "data")
        let other = try record("2026-11-20T00-00-00Z", pool: "slow", vm: "db")
        for record in [late, early, data, other] { try catalog.register(record) }
        #expect(try catalog.snapshots() == [other, data, early, late])
        #expect(try catalog.snapshots(of: late.identifier.diskName) == [early, late])
        #expect(try catalog.snapshot(data.identifier) == data)
        let (pool, org) = (late.identifier.pool, late.identifier.org)
        #expect(try catalog.snapshotOrgs(pool: pool) == [org])
        #expect(try catalog.snapshotVMs(pool: pool, org: org) == [late.identifier.vm])
        #expect(
            try catalog.snapshotDates(pool: pool, org: org, vm: late.identifier.vm)
                == [early.identifier.date, late.identifier.date])
        #expect(
            try catalog.snapshots(pool: pool, org: org, vm: late.identifier.vm, date: early.identifier.date)
                == [data, early])
        try catalog.remove(data.identifier)
        try catalog.remove(data.identifier)
        #expect(try catalog.snapshot(data.identifier) == nil && catalog.snapshots().count == 3)
    }

    @Test func `a name is registered once`() throws {
        let catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        try catalog.register(record("2026-11-22T00-00-00Z"))
        #expect {
            try catalog.register(record("2026-11-22T00-00-00Z", size: 11))
        } throws: {
            ($0 as? CatalogError)?.code == .alreadyExists
        }
        #expect(try catalog.snapshots().map(\.rawByteCount) == [10])
    }

    @Test func `runs of snapshots and of backups are told apart`() throws {
        let catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        let disk = try record("2026-11-22T00-00-00Z").identifier.diskName
        let kinds: [(BackupRunRecord.Kind, Int64)] = [(.backup, 1), (.snapshot, 2), (.snapshot, 3)]
        for (kind, time) in kinds {
            _ = try catalog.beginRun(
                BackupRunRecord(
                    kind: kind, disk: disk, place: ResourceName("x"), startedAt: time, catchesUp: false,
                    ownerProcess: 1,
                    ownerStartTicks: 1, ownerBootIdentifier: ""))
        }
        #expect(try catalog.backupRuns(of: disk, .backup, limit: 9).map(\.startedAt) == [1])
        #expect(try catalog.backupRuns(of: disk, .snapshot, limit: 1).map(\.startedAt) == [3])
        // No table of backups knows of them.
        try catalog.register(record("2026-11-22T00-00-00Z"))
        #expect(try catalog.allBackups().isEmpty)
    }
}
