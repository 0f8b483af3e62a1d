import BackupEngine
import BackupNames
internal import Catalog
import Foundation
internal import Manifest
import OrgKeys
import Retention
import Storage
import StorageTesting
import Testing

@Suite("Locked backups", .timeLimit(.minutes(3)))
struct ObjectLockTests {
    private static let day: Int64 = 86_400
    private let locks = RetentionLocks([.daily: 7 * day, .weekly: 35 * day, .yearly: 3 * 366 * day])

    private func lockEnd(_ bench: EngineBench) throws -> Int64? {
        try bench.engine.newLockEnd(
            of: bench.disk(), at: bench.clock.secondsSince1970, .gfs, in: .gmt, locks
        ).map { $0 - bench.clock.secondsSince1970 }
    }

    /// As the agent makes one, and looks at it.
    private func backUp(_ bench: EngineBench, lockedFor seconds: Int64?, seed: UInt64 = 1) throws -> BackupIdentifier {
        bench.advance(60)
        let path = try bench.file("source.raw", testImage(3000, seed: seed))
        let identifier = try bench.engine.backUp(
            ImageFile.open(path), as: bench.disk(), to: bench.backend,
            lockedUntil: seconds.map { bench.clock.secondsSince1970 + $0 }
        ).manifest.identifier
        _ = try bench.engine.check(identifier, .presence)
        return identifier
    }

    private func locked(_ bench: EngineBench, _ key: String) throws -> Int64? {
        try bench.memory.lockedUntil(ObjectKey(key))
    }

    @Test func `a new backup is locked for the longest of the classes that it is the first of`() throws {
        let bench = try EngineBench(locks: true)
        #expect(try lockEnd(bench) == 3 * 366 * Self.day)
        _ = try backUp(bench, lockedFor: lockEnd(bench))
        #expect(try lockEnd(bench) == 7 * Self.day, "the second of a day: as the shortest class")
        bench.advance(Self.day)
        // 2026-11-18 is a Wednesday: another day of the same week.
        #expect(try lockEnd(bench) == 7 * Self.day)
        bench.advance(7 * Self.day)
        #expect(try lockEnd(bench) == 35 * Self.day)
    }

    @Test func `archive and sidecar are locked, it is written down, nothing removes them, and they go in their time`()
        throws
    {
        let bench = try EngineBench(locks: true)
        let identifier = try backUp(bench, lockedFor: 7 * Self.day)
        let end = bench.clock.secondsSince1970 + 7 * Self.day
        #expect(try locked(bench, identifier.archiveKey) == end && locked(bench, identifier.manifestKey) == end)
        #expect(try bench.engine.catalog.backup(identifier)?.lockedUntil == end)
        #expect(try bench.engine.catalog.access(identifier)?.lockedUntil == end)
        // A newer one; no class keeps the first.
        bench.advance(Self.day)
        _ = try backUp(bench, lockedFor: nil, seed: 2)
        func plan() throws -> [DiskPrune] { try bench.engine.prunePlans { _ in (RetentionPolicy(daily: 1), .gmt) } }
        let entry = try #require(try plan()[0].plan.entries.last)
        #expect(!entry.isRemoved && entry.isSpared)
        #expect(try bench.engine.prune(plan(), maximumShare: 1, isForced: true).isEmpty)
        #expect(bench.code { try bench.engine.remove(identifier) } == .held)
        #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil)
        // A catalog that is made anew learns of it.
        try bench.reopen(forgetsCatalog: true)
        _ = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(try bench.engine.catalog.backup(identifier)?.lockedUntil == end)
        bench.advance(7 * Self.day)
        let gone = try bench.engine.prune(plan(), maximumShare: 1, isForced: true)
        #expect(gone.map(\.backup.identifier) == [identifier])
        #expect(bench.memory.keys.count == 2)
    }

    @Test func `a store that cannot lock gets nothing`() throws {
        let bench = try EngineBench()
        let path = try bench.file("source.raw", testImage(3000, seed: 1))
        #expect(
            bench.code {
                _ = try bench.engine.backUp(
                    ImageFile.open(path), as: bench.disk(), to: bench.backend, lockedUntil: 1 << 40)
            } == .backendDenied)
        #expect(try bench.memory.keys.isEmpty && bench.engine.catalog.uploads().isEmpty)
        #expect(bench.memory.uploadIdentifiers.isEmpty)
    }

    @Test func `a copy is locked as long, where its backend locks`() throws {
        let bench = try EngineBench(locks: true)
        let identifier = try backUp(bench, lockedFor: 7 * Self.day)
        let end = bench.clock.secondsSince1970 + 7 * Self.day
        let other = try ResourceName("other")
        _ = try bench.engine.replicate(identifier, to: other)
        #expect(try bench.engine.catalog.backup(identifier.at(other))?.lockedUntil == nil)
        // And back, from a copy whose original is gone; what the catalog knows of its lock is nothing then.
        bench.advance(8 * Self.day)
        try bench.engine.remove(identifier)
        bench.otherMemory.setLockClock(bench.clock.secondsSince1970)
        let later = bench.clock.secondsSince1970 + Self.day
        try bench.otherMemory.lock(ObjectKey(identifier.archiveKey), until: later)
        _ = try bench.engine.replicate(identifier.at(other), to: bench.backendName)
        #expect(try bench.engine.catalog.backup(identifier)?.lockedUntil == later)
        #expect(try locked(bench, identifier.archiveKey) == later && locked(bench, identifier.manifestKey) == later)
        #expect(later > end)
    }

    @Test func `what takes the place of a locked archive is locked as long, and the old one goes after its lock`()
        throws
    {
        let bench = try EngineBench(locks: true)
        let identifier = try backUp(bench, lockedFor: 7 * Self.day)
        let end = bench.clock.secondsSince1970 + 7 * Self.day
        _ = try KeyDirectory(path: bench.keysPath).rotate(ResourceName("acme"), createdAt: "now")
        guard case .rewrappedWithRemains(let remains) = try bench.engine.rewrap(identifier) else {
            Issue.record("the old archive is locked and cannot be gone")
            return
        }
        #expect(remains.code == .held)
        let new = try #require(try bench.engine.catalog.backup(identifier))
        #expect(new.generation > 0 && new.lockedUntil == end)
        #expect(try locked(bench, new.place.archiveKey) == end && locked(bench, new.place.manifestKey) == end)
        #expect(bench.memory.keys.count == 4)
        try bench.orphanJournal()
        #expect(try bench.engine.cleanUpAfterCrash() == 0)
        #expect(try bench.engine.catalog.allBackups().map(\.identifier) == [identifier])
        bench.advance(8 * Self.day)
        #expect(try bench.engine.cleanUpAfterCrash() == 1)
        #expect(Set(bench.memory.keys.map(\.string)) == [new.place.archiveKey, new.place.manifestKey])
        #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil)
    }

    @Test func `what retention keeps is locked anew before its lock runs out, whoever made it`() throws {
        let bench = try EngineBench(locks: true)
        let identifier = try backUp(bench, lockedFor: nil)
        func renew() throws -> [LockRenewal] {
            let plans = try bench.engine.prunePlans { _ in (.gfs, .gmt) }
            return bench.engine.renewLocks(plans) { _ in locks }
        }
        let end = bench.clock.secondsSince1970 + 7 * Self.day
        #expect(try renew().map(\.until) == [end])
        #expect(try bench.engine.catalog.backup(identifier)?.lockedUntil == end)
        #expect(try locked(bench, identifier.archiveKey) == end && locked(bench, identifier.manifestKey) == end)
        #expect(try renew().isEmpty)
        bench.advance(4 * Self.day)
        bench.store.failOperation(0, of: .lock, .once)
        #expect(try renew().map { $0.error?.code } == [.backendUnavailable])
        #expect(try renew().map { $0.error == nil } == [true])
        #expect(try locked(bench, identifier.archiveKey) == end + 4 * Self.day)
        #expect(bench.engine.renewLocks(try bench.engine.prunePlans { _ in (.gfs, .gmt) }) { _ in nil }.isEmpty)
    }

    /// Whatever fails: what is registered is locked, and what is not goes, some of it when its lock has run out.
    @Test(
        arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `a locked backup that fails anywhere leaves nothing that outlives its lock`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        let bench = try EngineBench(locks: true)
        var operation = 0
        while operation < 60 {
            bench.store.resetCounts()
            bench.store.failOperation(operation, persistence, moment)
            let failure = bench.code { _ = try backUp(bench, lockedFor: 1000) }
            let struck = bench.store.faultCount > 0
            let what = "operation \(operation) \(persistence) \(moment): \(String(describing: failure))"
            bench.store.heal()
            try bench.orphanJournal()
            try bench.reopen()
            let registered = try bench.engine.catalog.allBackups()
            for backup in registered {
                #expect(try locked(bench, backup.place.archiveKey) == backup.lockedUntil, "\(what)")
                #expect(try locked(bench, backup.place.manifestKey) == backup.lockedUntil, "\(what)")
            }
            try bench.engine.cleanUpAfterCrash()
            bench.advance(1001)
            try bench.engine.cleanUpAfterCrash()
            let standing = try bench.engine.catalog.allBackups()
            #expect(bench.memory.keys.count == 2 * standing.count, "\(what): \(bench.memory.keys)")
            #expect(try bench.engine.catalog.uploads().isEmpty, "\(what)")
            for backup in standing { try bench.engine.remove(backup.identifier) }
            if !struck { break }
            operation += 1
        }
        #expect(operation > 6 && operation < 60)
    }
}
