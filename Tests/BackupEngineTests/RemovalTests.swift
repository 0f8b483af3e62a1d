import BackupEngine
import BackupNames
import Catalog
import Storage
import StorageTesting
import Testing

@Suite("Removing a backup", .timeLimit(.minutes(2)))
struct RemovalTests {
    @Test(
        arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect]
    )
    func `a removal that ends anywhere is finished by the next start, and nothing else goes`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        var operation = 0
        while true {
            let bench = try EngineBench()
            let kept = try bench.backUp(testImage(100_000, seed: 1))
            let removed = try bench.backUp(testImage(100_000, seed: 2))
            bench.store.resetCounts()
            bench.store.failOperation(operation, persistence, moment)
            let failure = bench.code { try bench.engine.remove(removed) }
            let struck = bench.store.faultCount > 0
            let what = "operation \(operation) \(persistence) \(moment): \(String(describing: failure))"
            #expect(struck == (failure != nil), "\(what)")
            // From the mark on it is not seen, whatever is left of it.
            #expect(try bench.engine.catalog.allBackups().map(\.identifier) == [kept], "\(what)")
            bench.store.heal()
            try bench.reopen()
            // Nor does a look at the backend bring back what is going.
            _ = try CatalogRefresh(bench.engine, bench.backend).run()
            #expect(try bench.engine.catalog.allBackups().map(\.identifier) == [kept], "\(what)")
            try bench.engine.cleanUpAfterCrash()
            #expect(bench.memory.keys.map(\.string) == [kept.manifestKey, kept.archiveKey], "\(what)")
            #expect(try bench.engine.catalog.removingBackups().isEmpty, "\(what)")
            #expect(bench.code { _ = try bench.engine.verify(kept, .raw) } == nil, "\(what)")
            if !struck { break }
            operation += 1
        }
        #expect(operation >= 3)
    }

    @Test func `the archive goes first, then the sidecar`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(10_000, seed: 1))
        bench.store.failOperation(1, of: .delete, .once)
        #expect(bench.code { try bench.engine.remove(identifier) } != nil)
        #expect(bench.memory.keys.map(\.string) == [identifier.manifestKey])
    }

    @Test func `what its store has locked stays whole, and goes when the lock has lapsed`() throws {
        let bench = try EngineBench()
        bench.memory.setLockClock(bench.clock.secondsSince1970)
        let identifier = try bench.backUp(testImage(10_000, seed: 1))
        let end = bench.clock.secondsSince1970 + 86_400
        try bench.memory.lock(ObjectKey(identifier.archiveKey), until: end)
        #expect(bench.code { try bench.engine.remove(identifier) } == .held)
        #expect(try bench.engine.catalog.backup(identifier)?.lockedUntil == end)
        #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil)
        // A store that says nothing of a lock, and refuses.
        bench.clock.advance(2 * 86_400)
        #expect(bench.code { try bench.engine.remove(identifier) } == .backendDenied)
        #expect(try bench.engine.catalog.backup(identifier) != nil)
        bench.memory.setLockClock(bench.clock.secondsSince1970)
        try bench.engine.remove(identifier)
        #expect(bench.memory.keys.isEmpty)
    }

    @Test func `a hold keeps a backup, at every host that looks, until it is released`() throws {
        let ours = try EngineBench()
        let identifier = try ours.backUp(testImage(10_000, seed: 1))
        let theirs = try EngineBench(sharing: ours)
        try ours.engine.hold(identifier, reason: "case 12")
        _ = try CatalogRefresh(theirs.engine, theirs.backend).run()
        for bench in [ours, theirs] {
            #expect(bench.code { try bench.engine.remove(identifier) } == .held)
            #expect(try bench.engine.catalog.allBackups().count == 1)
        }
        // A new catalog learns of it, and a mark that somebody removes lets nothing go.
        try theirs.reopen(forgetsCatalog: true)
        _ = try theirs.engine.rebuildCatalog(from: theirs.backend)
        try ours.memory.delete(ObjectKey(identifier.holdKey))
        _ = try CatalogRefresh(theirs.engine, theirs.backend).run()
        #expect(theirs.code { try theirs.engine.remove(identifier) } == .held)
        try theirs.engine.release(identifier)
        try ours.engine.release(identifier)
        try ours.engine.remove(identifier)
        #expect(ours.memory.keys.isEmpty)
    }

    @Test func `a hold that the backend does not take still holds here`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(10_000, seed: 1))
        bench.store.failOperation(0, of: .putIfAbsent, .once)
        #expect(bench.code { try bench.engine.hold(identifier, reason: "") } == .backendUnavailable)
        #expect(bench.code { try bench.engine.remove(identifier) } == .held)
        bench.store.failOperation(0, of: .delete, .once)
        #expect(bench.code { try bench.engine.release(identifier) } == .backendUnavailable)
        #expect(bench.code { try bench.engine.remove(identifier) } == .held)
        #expect(
            bench.code {
                try bench.engine.hold(bench.backUp(testImage(9, seed: 3)).at(ResourceName("other")), reason: "")
            } == .notFound)
    }
}
