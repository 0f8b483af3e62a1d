import BackupNames
import Catalog
import Foundation
import GRDB
import Testing

@Suite("The catalog on usage and tests of backends", .timeLimit(.minutes(1)))
struct UsageTests {
    @Test func `snapshots are summed by pool, org and vm`() throws {
        let folder = try TemporaryFolder()
        let catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        #expect(try catalog.snapshotUsage().isEmpty)
        let database = try DatabaseQueue(path: folder.path + "/catalog.sqlite")
        try database.write { database in
            for (pool, vm, date, data) in [
                ("fast", "web", "2026-11-20T02-00-00Z", 100), ("fast", "web", "2026-11-21T02-00-00Z", 200),
                ("fast", "db", "2026-11-20T02-00-00Z", 7), ("slow", "web", "2026-11-20T02-00-00Z", 1),
            ] {
                try database.execute(
                    sql:
                        "INSERT INTO snapshot VALUES (?, 'acme', ?, ?, 'disk', 1, 'policy', 'reflink', 1000, ?, zeroblob(32))",
                    arguments: [pool, vm, date, data])
            }
        }
        let sums = try catalog.snapshotUsage().map {
            "\($0.pool) \($0.org)/\($0.vm) \($0.count) \($0.rawByteCount) \($0.storedByteCount)"
        }
        #expect(sums == ["fast acme/db 1 1000 7", "fast acme/web 2 2000 300", "slow acme/web 1 1000 1"])
    }

    @Test func `tests of a backend come newest first, and only the newest are kept`() throws {
        let folder = try TemporaryFolder()
        let catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        let (near, far) = (try ResourceName("near"), try ResourceName("far"))
        func test(_ backend: ResourceName, _ time: Int64) -> BackendTestRecord {
            BackendTestRecord(
                backend: backend, testedAt: time, outcome: time % 2 == 0 ? BackendTestRecord.good : "backendDenied",
                detail: "no", latencyMicroseconds: 1, upBytesPerSecond: 2, downBytesPerSecond: 3)
        }
        try catalog.addBackendTest(test(far, 1))
        for time in 0..<Int64(Catalog.backendTestLimit + 5) { try catalog.addBackendTest(test(near, time)) }
        let found = try catalog.backendTests(of: near)
        #expect(
            found.count == Catalog.backendTestLimit && found.first == test(near, Int64(Catalog.backendTestLimit + 4)))
        #expect(try catalog.backendTests(of: near, limit: 1).map(\.isGood) == [true])
        #expect(try catalog.backendTests(of: far) == [test(far, 1)])
    }
}
