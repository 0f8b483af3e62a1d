import BackupEngine
import BackupNames
import Catalog
import Storage
import StorageTesting
import Testing

@Suite("Trying a backend out", .timeLimit(.minutes(2)))
struct BackendTestTests {
    @discardableResult
    private func test(_ bench: EngineBench, byteCount: UInt64 = 3_000_000) throws -> BackendTestReport {
        try bench.engine.test(bench.backendName, byteCount: byteCount)
    }

    @Test(arguments: [1, 7, 65_535, 65_536, 65_537, 3_000_001] as [UInt64])
    func `a probe of any size goes there and back, is measured, and nothing is left`(byteCount: UInt64) throws {
        let bench = try EngineBench()
        let report = try test(bench, byteCount: byteCount)
        #expect(report.failure == nil && report.byteCount == byteCount)
        #expect(Set(report.milliseconds.keys) == Set(BackendTestReport.Step.allCases))
        #expect(report.record.isGood && report.record.latencyMicroseconds > 0)
        #expect(report.record.upBytesPerSecond > 0 && report.record.downBytesPerSecond > 0)
        #expect(bench.memory.keys.isEmpty && bench.memory.uploadIdentifiers.isEmpty)
        #expect(try bench.engine.catalog.backendTests(of: bench.backendName) == [report.record])
        let figures = try bench.engine.figures(of: bench.backendName)
        #expect(figures.upBytesPerSecond == report.record.upBytesPerSecond)
        #expect(figures.lastTest == report.record && figures.backupBytesPerSecond == nil)
        #expect(try bench.engine.catalog.leases().isEmpty)
    }

    @Test(
        arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `whatever fails is named, kept, and leaves nothing for longer than to the next test`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        var steps: Set<BackendTestReport.Step> = []
        for operation in 0..<60 {
            let bench = try EngineBench()
            bench.store.failOperation(operation, persistence, moment)
            let report = try test(bench)
            let struck = bench.store.faultCount > 0
            let what = "operation \(operation) \(persistence) \(moment)"
            bench.store.heal()
            guard struck else {
                #expect(operation > 10 && report.failure == nil)
                #expect(steps == Set(BackendTestReport.Step.allCases), "\(steps)")
                return
            }
            if let failure = report.failure {
                steps.insert(failure.step)
                #expect(report.record.outcome == failure.error.code.rawValue, "\(what)")
                #expect(failure.error.code == .backendUnavailable, "\(what): \(failure)")
            }
            try test(bench)
            #expect(bench.memory.keys.isEmpty && bench.memory.uploadIdentifiers.isEmpty, "\(what)")
        }
        Issue.record("a test has fewer operations")
    }

    @Test func `a store that gives other bytes is found out`() throws {
        let bench = try EngineBench()
        bench.store.afterOperation(0, of: .head) { [memory = bench.memory] in
            guard let key = memory.keys.first, var bytes = memory.bytes(of: key) else { return }
            bytes[100_000] ^= 1
            memory.tamper(key, bytes)
        }
        let failure = try #require(try test(bench).failure)
        #expect(failure.step == .read && failure.error.code == .damaged)
        #expect(bench.memory.keys.isEmpty)
    }

    @Test func `what a killed test of this host left goes at once, what others left after a day, and nothing else`()
        throws
    {
        let bench = try EngineBench()
        let backup = try bench.backUp(testImage(1000, seed: 1))
        let origin = try bench.engine.catalog.origin()
        func put(_ name: String) throws {
            _ = try [1, 2, 3].withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey("holdfast-test/" + name), $0) }
        }
        try put(origin + "-17")
        _ = try bench.memory.upload(ObjectKey("holdfast-test/" + origin + "-18")).identifier
        try test(bench)
        #expect(Set(bench.memory.keys.map(\.string)) == [backup.archiveKey, backup.manifestKey])
        // The clock of the store in memory counts changes: everything there is old.
        try put("somebody-1")
        _ = try bench.engine.collectGarbage(at: bench.backend, startedBefore: 0)
        #expect(Set(bench.memory.keys.map(\.string)) == [backup.archiveKey, backup.manifestKey])
    }

    @Test func `one that is stopped is no result, and leaves nothing`() throws {
        let bench = try EngineBench()
        for asked in 0..<12 {
            var count = 0
            let code = bench.code {
                _ = try bench.engine.test(
                    bench.backendName, byteCount: 3_000_000,
                    isStopped: {
                        count += 1
                        return count > asked
                    })
            }
            #expect(code == .cancelled || (code == nil && count <= asked))
            #expect(bench.memory.keys.isEmpty && bench.memory.uploadIdentifiers.isEmpty)
        }
        #expect(try bench.engine.catalog.backendTests(of: bench.backendName).isEmpty)
    }

    @Test func `backends are asked side by side, and one that says nothing is away in time`() throws {
        let bench = try EngineBench()
        bench.otherMemory.setAvailable(false)
        let reports = bench.engine.checkBackends()
        #expect(reports.map { "\($0.backend.name)" } == ["memory", "other"])
        #expect(reports.map { $0.problem?.code } == [nil, .unavailable])
        #expect(bench.engine.checkBackends(within: 5).count == 2)
    }
}
