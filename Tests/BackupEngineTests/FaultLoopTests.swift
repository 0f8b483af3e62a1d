import BackupEngine
import BackupNames
internal import Catalog
import Storage
import StorageTesting
import Testing

/// Operation n of the store fails, for n = 0, 1, 2 … until a backup succeeds; each time everything is reopened and looked at.
@Suite("Faults of the store, one after another")
struct FaultLoopTests {
    private func check(_ bench: EngineBench, _ earlier: BackupIdentifier, _ image: [UInt8], _ what: String) throws {
        bench.store.heal()
        try bench.orphanJournal()
        try bench.reopen()
        try bench.engine.cleanUpAfterCrash()
        let registered = try bench.engine.catalog.allBackups().map(\.identifier)
        #expect(registered.contains(earlier), "\(what)")
        // Each registered backup restores; the backend holds their objects and nothing else.
        for identifier in registered {
            #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil, "\(what)")
        }
        #expect(bench.memory.keys.count == 2 * registered.count, "\(what): \(bench.memory.keys)")
        #expect(bench.memory.uploadIdentifiers.isEmpty, "\(what)")
        #expect(try bench.engine.catalog.uploads().isEmpty, "\(what)")
        #expect(try bench.restore(earlier) == image, "\(what)")
    }

    @Test(
        .timeLimit(.minutes(3)), arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `a failing operation leaves no partial backup and loses no whole one`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        let bench = try EngineBench()
        let image = testImage(120_000, seed: 1)
        let earlier = try bench.backUp(image)
        var operation = 0
        while operation < 200 {
            bench.store.resetCounts()
            bench.store.failOperation(operation, persistence, moment)
            // Always the same image: each of its operations has its turn.
            let failure = bench.code { try bench.backUp(testImage(3_000_000, seed: 4)) }
            let struck = bench.store.faultCount > 0
            try check(
                bench, earlier, image, "operation \(operation) \(persistence) \(moment): \(String(describing: failure))"
            )
            if !struck { break }
            operation += 1
        }
        // At least begin, several appends, complete, read, put.
        #expect(operation > 4)
        #expect(operation < 200)
    }
}
