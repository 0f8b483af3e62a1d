import BackupEngine
import BackupNames
import Catalog
import Foundation
import Retention
import Testing

@Suite("What backups take up and cost", .timeLimit(.minutes(1)))
struct UsageTests {
    private func item(_ org: String, _ vm: String, _ backend: String, _ stored: UInt64, bound: Int64 = 0) throws
        -> Usage.Item
    {
        Usage.Item(
            org: try ResourceName(org), vm: try ResourceName(vm), backend: try ResourceName(backend),
            rawByteCount: stored * 3, storedByteCount: stored, boundSeconds: bound)
    }

    @Test func `sums by org, vm and backend, each at its own price`() throws {
        let cheap = try ResourceName("cheap")
        let usage = Usage(
            [
                try item("acme", "web", "dear", 20_000_000_000), try item("acme", "web", "dear", 20_000_000_000),
                try item("acme", "web", "cheap", 20_000_000_000), try item("acme", "db", "dear", 1_000_000_000_000),
                try item("zoo", "web", "cheap", 500_000_000_000, bound: 15 * 86_400),
            ]
        ) { Price(centsPerTerabyteMonth: $0 == cheap ? 700 : 3500) }
        #expect(
            usage.rows.map { "\($0.key.org)/\($0.key.vm)/\($0.key.backend) \($0.sum.count) \($0.sum.month.euros)" } == [
                "acme/db/dear 1 35.00", "acme/web/cheap 1 0.14", "acme/web/dear 2 1.40", "zoo/web/cheap 1 3.50",
            ])
        #expect(usage.orgs.map { "\($0.org) \($0.sum.month.euros)" } == ["acme 36.54", "zoo 3.50"])
        #expect(usage.backends.map { "\($0.backend) \($0.sum.month.euros)" } == ["cheap 3.64", "dear 36.40"])
        #expect(usage.total.month.euros == "40.04" && usage.total.count == 5)
        #expect(usage.total.storedByteCount == 1_560_000_000_000 && usage.total.rawByteCount == 4_680_000_000_000)
        #expect(usage.total.bound.euros == "1.75")
        #expect(Usage([], price: { _ in Price(centsPerTerabyteMonth: 1) }).total.month == .nothing)
    }

    private func usage(_ bench: EngineBench, org: String? = nil) throws -> UsageReport {
        let targets = [bench.backendName]
        return try bench.engine.usage(
            where: { name, _ in org.map { $0 == "\(name)" } ?? true },
            backupPrice: Price(centsPerTerabyteMonth: 3500), snapshotPrice: Price(centsPerTerabyteMonth: 5000),
            days: [30]
        ) { disk in
            guard disk.vm.description == "web" else { return nil }
            return DiskForecast(policy: .basic, timeZone: .gmt, locks: RetentionLocks(), targets: targets)
        }
    }

    @Test func `a catalog's backups, what becomes of them, and what their removal would not save`() throws {
        let bench = try EngineBench()
        for day in 0..<2 {
            bench.clock.advance(86_400)
            _ = try bench.engine.check(bench.backUp(testImage(5000, seed: UInt64(day))), .presence)
        }
        let by = try bench.backUp(testImage(9000, seed: 5), as: bench.disk("acme", "db"))
        let report = try usage(bench)
        let all = try bench.engine.catalog.allBackups()
        #expect(report.backups.total.count == 3)
        #expect(report.backups.total.storedByteCount == all.reduce(0) { $0 + $1.archiveByteCount })
        #expect(report.backups.rows.map { "\($0.key.vm)" } == ["db", "web"])
        // Basic keeps three of web; of db nobody says anything.
        #expect(report.projections.map(\.count) == [4])
        let stored = try #require(all.first { $0.identifier == by }).archiveByteCount
        #expect(report.projections[0].storedByteCount > stored)
        // The bench's backends bill 30 days.
        #expect(report.backups.total.bound > .nothing)
        #expect(report.removed.values.allSatisfy { $0.count == 0 } && report.removed.count == 2)
        #expect(report.snapshots.isEmpty)
        #expect(try usage(bench, org: "none").backups.total.count == 0)
    }

    @Test func `what the agent made and is gone is billed on, until its days are over`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(5000, seed: 1))
        var run = BackupRunRecord(
            kind: .backup, disk: identifier.diskName, place: identifier.backend,
            startedAt: bench.clock.secondsSince1970, catchesUp: false, ownerProcess: 1, ownerStartTicks: 1,
            ownerBootIdentifier: "boot")
        run.id = try bench.engine.catalog.beginRun(run)
        run.outcome = BackupRunRecord.good
        run.date = identifier.date
        run.storedByteCount = 1_000_000_000_000
        run.endedAt = run.startedAt + 10
        try bench.engine.catalog.endRun(run)
        #expect(try usage(bench).removed[bench.backendName]?.count == 0)
        try bench.engine.remove(identifier)
        bench.clock.advance(15 * 86_400)
        let removed = try #require(try usage(bench).removed[bench.backendName])
        #expect(removed.count == 1 && removed.storedByteCount == 1_000_000_000_000)
        // 15 of 30 days at 35 a month.
        #expect(removed.charge.euros == "17.50")
        bench.clock.advance(15 * 86_400)
        #expect(try usage(bench).removed[bench.backendName]?.count == 0)
    }
}
