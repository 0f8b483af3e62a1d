import AgeFormat
internal import Archive
import BackupEngine
import BackupNames
internal import Catalog
internal import CryptoPrimitives
import Foundation
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Testing

@Suite("Rewrapped archives", .timeLimit(.minutes(2)))
struct RewrapTests {
    private let bench: EngineBench
    private let acme: ResourceName
    private let keys: KeyDirectory
    private let image = testImage(700_000, seed: 7)

    init() throws {
        bench = try EngineBench()
        acme = try ResourceName("acme")
        keys = KeyDirectory(path: bench.keysPath)
    }

    private func place(_ identifier: BackupIdentifier, _ bench: EngineBench? = nil) throws -> BackupPlace {
        try #require(try (bench ?? self.bench).engine.catalog.backup(identifier)).place
    }

    private func archive(_ place: BackupPlace) throws -> [UInt8] {
        try #require(bench.memory.bytes(of: ObjectKey(place.archiveKey)))
    }

    private func headerByteCount(_ archive: [UInt8]) throws -> Int {
        try #require(try AgeHeader.parse(archive)).byteCount
    }

    @discardableResult
    private func rewrap(_ identifier: BackupIdentifier, _ bench: EngineBench? = nil) throws -> RewrapResult {
        try (bench ?? self.bench).engine.rewrap(identifier)
    }

    /// A backup, and a rotation after it.
    private func rotated() throws -> BackupIdentifier {
        let identifier = try bench.backUp(image)
        _ = try keys.rotate(acme, createdAt: "now")
        return identifier
    }

    private func isRewrapped(_ result: RewrapResult) -> Bool { if case .rewrapped = result { true } else { false } }

    // MARK: What it does

    @Test func `the new key alone opens it then, and its payload is the same byte for byte`() throws {
        let identifier = try rotated()
        let before = try archive(place(identifier))
        let needs = try bench.engine.backupsToRewrap(acme)
        #expect(needs.map(\.identifier) == [identifier] && needs[0].isCopiedInPlace)
        #expect(needs[0].readByteCount == UInt64(before.count))
        #expect(isRewrapped(try rewrap(identifier)))
        let new = try place(identifier)
        #expect(new.generation > 0)
        let after = try archive(new)
        let (oldHeader, newHeader) = (try headerByteCount(before), try headerByteCount(after))
        #expect(before[oldHeader...].elementsEqual(after[newHeader...]))
        #expect(before[..<oldHeader] != after[..<newHeader])
        #expect(try bench.engine.backupsToRewrap(acme).isEmpty)
        // Old keys can go, and nothing is left of the old objects.
        for entry in try keys.entries(of: acme) where !entry.isCurrent {
            try bench.engine.removeKey(acme, entry.recipient)
        }
        #expect(try keys.entries(of: acme).count == 1)
        #expect(bench.memory.keys.map(\.string).sorted() == [new.manifestKey, new.archiveKey].sorted())
        #expect(try bench.engine.catalog.uploads().isEmpty)
        _ = try bench.engine.verify(identifier, .raw)
        _ = try bench.engine.verify(identifier, .archive)
        #expect(try bench.restore(identifier) == image)
        let manifest = try bench.engine.open(identifier).manifest
        #expect(manifest.generation == new.generation)
        #expect(manifest.recipients == [try keys.key(for: acme).recipient.string])
        #expect(try bench.engine.catalog.checks(identifier).allSatisfy(\.isGood))
    }

    @Test func `it can be done again and again, and once is enough`() throws {
        let identifier = try rotated()
        var generation: UInt64 = 0
        for _ in 0..<3 {
            #expect(isRewrapped(try rewrap(identifier)))
            #expect(!isRewrapped(try rewrap(identifier)))
            let new = try place(identifier).generation
            #expect(new > generation)
            generation = new
            _ = try keys.rotate(acme, createdAt: "now")
        }
        #expect(bench.memory.keys.count == 2)
        #expect(try bench.restore(identifier) == image)
    }

    @Test func `recovery recipients that came later are taken in, and removed ones left out`() throws {
        let recovery = AgeIdentity.generate()
        let identifier = try bench.backUp(image)
        try bench.reopen(orgs: [acme: OrgSettings(recoveryRecipients: [recovery.recipient])])
        #expect(isRewrapped(try rewrap(identifier)))
        let header = try #require(try AgeHeader.parse(archive(place(identifier))))
        _ = try header.fileKey(identities: [recovery])
        try bench.reopen()
        #expect(isRewrapped(try rewrap(identifier)))
        let last = try #require(try AgeHeader.parse(archive(place(identifier))))
        #expect(throws: AgeError.self) { try last.fileKey(identities: [recovery]) }
        #expect(try bench.restore(identifier) == image)
    }

    @Test func `a lost catalog is rebuilt from what it left`() throws {
        let identifier = try rotated()
        try rewrap(identifier)
        let other = try bench.backUp(testImage(100_000, seed: 9))
        let new = try place(identifier)
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(Set(result.registered) == [identifier, other])
        #expect(result.refusedCount == 0 && result.leftOvers.isEmpty)
        #expect(try place(identifier) == new)
        #expect(try bench.restore(identifier) == image)
        #expect(try bench.engine.rebuildCatalog(from: bench.backend).known.count == 2)
    }

    @Test func `who reads it meanwhile goes on, from the image and from the archive itself`() throws {
        let identifier = try rotated()
        let before = try archive(place(identifier))
        let open = try bench.engine.open(identifier)
        try rewrap(identifier)
        // The header of the new one is longer: it has another recipient.
        try bench.reopenKeeping(orgs: [acme: OrgSettings(recoveryRecipients: [AgeIdentity.generate().recipient])]) {
            try rewrap(identifier)
        }
        #expect(try bench.memory.bytes(of: ObjectKey(identifier.archiveKey)) == nil)
        var bytes = [UInt8](repeating: 0, count: before.count)
        try bytes.withUnsafeMutableBytes { try open.cachedSource.read(at: 0, into: $0) }
        #expect(bytes == before)
        for range in [0..<10, 100..<500, 200..<100_000, before.count - 50..<before.count] {
            var part = [UInt8](repeating: 0, count: range.count)
            try part.withUnsafeMutableBytes { try open.cachedSource.read(at: UInt64(range.lowerBound), into: $0) }
            #expect(part.elementsEqual(before[range]), "\(range)")
        }
        let raw = RawReader(reader: try open.reader)
        var rest = [UInt8](repeating: 0, count: 300_000)
        try rest.withUnsafeMutableBytes { try raw.read(at: 200_000, into: $0) }
        #expect(rest.elementsEqual(image[200_000..<500_000]))
        // Gone is gone.
        try bench.engine.remove(identifier)
        #expect(
            bench.code { try bytes.withUnsafeMutableBytes { try open.cachedSource.read(at: 0, into: $0) } } == .notFound
        )
    }

    @Test func `replicas stay replicas: each gets the same header, and stands in for the other`() throws {
        let identifier = try bench.backUp(image)
        let other = try ResourceName("other")
        _ = try bench.engine.replicate(identifier, to: other)
        _ = try keys.rotate(acme, createdAt: "now")
        let needs = try bench.engine.backupsToRewrap(acme)
        #expect(needs.map(\.identifier) == [identifier, identifier.at(other)])
        for need in needs { #expect(isRewrapped(try rewrap(need.identifier))) }
        let (one, two) = (try place(identifier), try place(identifier.at(other)))
        let copy = try #require(bench.otherMemory.bytes(of: ObjectKey(two.archiveKey)))
        #expect(try archive(one) == copy)
        #expect(try bench.engine.open(identifier).hasReplicas)
        try bench.tamper(one.archiveKey) { $0[$0.count / 2] ^= 1 }
        #expect(try bench.restore(identifier) == image)
        #expect(bench.otherMemory.keys.count == 2 && bench.memory.keys.count == 2)
    }

    // MARK: What it refuses

    @Test func `a damaged archive is not taken for a good one, and stays as it is`() throws {
        let identifier = try rotated()
        let keysBefore = bench.memory.keys
        for position in [0.3, 0.6, 0.999] {
            let good = try archive(place(identifier))
            try bench.tamper(identifier.archiveKey) { $0[Int(Double($0.count) * position)] ^= 0x40 }
            #expect(bench.code { try rewrap(identifier) } == .damaged)
            #expect(bench.memory.keys == keysBefore)
            #expect(try bench.engine.catalog.uploads().isEmpty)
            #expect(try place(identifier).generation == 0)
            bench.memory.tamper(try ObjectKey(identifier.archiveKey), good)
        }
        try bench.memory.delete(ObjectKey(identifier.archiveKey))
        #expect(bench.code { try rewrap(identifier) } == .notFound)
        #expect(try bench.engine.catalog.uploads().isEmpty && bench.memory.uploadIdentifiers.isEmpty)
    }

    @Test func `a store that copies wrongly is found out`() throws {
        let identifier = try rotated()
        bench.store.corruptCopies(true)
        #expect(bench.code { try rewrap(identifier) } == .damaged)
        #expect(bench.memory.keys.count == 2)
        bench.store.corruptCopies(false)
        #expect(isRewrapped(try rewrap(identifier)))
    }

    @Test func `a host without a key that opens it leaves it alone`() throws {
        let identifier = try rotated()
        let exported = try keys.exportWriteOnly(acme)
        try keys.remove(acme, nil) { _, _ in }
        _ = try exported.withUnsafeBytes { try keys.importKey(acme, $0) }
        #expect(bench.code { try rewrap(identifier) } == .noKey)
        #expect(bench.code { _ = try bench.engine.backupsToRewrap(acme) } == .noKey)
        #expect(bench.memory.keys.count == 2)
    }

    @Test func `objects that cannot be removed are said, stay in the journal, and go when they can`() throws {
        let identifier = try rotated()
        bench.store.failOperation(0, of: .delete, .forGood, with: .denied)
        guard case .rewrappedWithRemains(let error) = try rewrap(identifier) else {
            Issue.record("nothing was said")
            return
        }
        #expect(error.code == .backendDenied)
        #expect(try bench.restore(identifier) == image)
        #expect(bench.memory.keys.count == 4)
        #expect(try bench.engine.catalog.uploads().map(\.archiveKey) == [identifier.archiveKey])
        try bench.orphanJournal()
        try bench.engine.cleanUpAfterCrash()
        #expect(bench.memory.keys.count == 4)
        bench.store.heal()
        try bench.engine.cleanUpAfterCrash()
        #expect(bench.memory.keys.count == 2)
        #expect(try bench.restore(identifier) == image)
    }

    @Test func `a backup that is removed meanwhile stays removed`() throws {
        let identifier = try rotated()
        let engine = bench.engine
        #expect(
            bench.code {
                _ = try engine.rewrap(identifier) { done, total in
                    if done == total { try engine.remove(identifier) }
                }
            } == nil)
        #expect(try engine.catalog.backup(identifier) == nil)
        #expect(bench.memory.keys.isEmpty)
        #expect(try engine.catalog.uploads().isEmpty)
    }

    // MARK: Several generations, several hosts

    @Test func `of two generations the later one that is right counts, and the other is left over`() throws {
        let identifier = try rotated()
        bench.store.failOperation(0, of: .delete, .forGood, with: .denied)
        try rewrap(identifier)
        bench.store.heal()
        let new = try place(identifier)
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(result.registered == [identifier])
        #expect(result.refusedCount == 0)
        #expect(try place(identifier) == new)
        // Both are looked at side by side: who comes second tells of the other.
        let again = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(again.known == [identifier])
        #expect(again.leftOvers == [identifier.manifestKey])
        // Where the later one is damaged or gone, the earlier one is the backup.
        for key in [new.archiveKey, new.manifestKey] {
            let good = try #require(bench.memory.bytes(of: ObjectKey(key)))
            try bench.memory.delete(ObjectKey(key))
            try bench.reopen(forgetsCatalog: true)
            #expect(try bench.engine.rebuildCatalog(from: bench.backend).registered == [identifier])
            #expect(try place(identifier).generation == 0)
            #expect(try bench.restore(identifier) == image)
            bench.memory.tamper(try ObjectKey(key), good)
        }
        // And a row whose objects are gone goes back to what there is.
        try bench.reopen(forgetsCatalog: true)
        _ = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(try place(identifier) == new)
        for key in [new.archiveKey, new.manifestKey] { try bench.memory.delete(ObjectKey(key)) }
        _ = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(try place(identifier).generation == 0)
        #expect(try bench.restore(identifier) == image)
    }

    @Test func `an older pair under the name of a later generation is refused`() throws {
        let identifier = try bench.backUp(image)
        let pretended = BackupPlace(identifier, generation: 1 << 40)
        let sidecar = try #require(bench.memory.bytes(of: ObjectKey(identifier.manifestKey)))
        bench.memory.tamper(try ObjectKey(pretended.manifestKey), sidecar)
        bench.memory.tamper(try ObjectKey(pretended.archiveKey), try archive(place(identifier)))
        for forgets in [false, true] {
            try bench.reopen(forgetsCatalog: forgets)
            let result = try bench.engine.rebuildCatalog(from: bench.backend)
            #expect(result.refused.map(\.error.code) == [.swapped])
            #expect(try place(identifier).generation == 0)
        }
        #expect(try CatalogRefresh(bench.engine, bench.backend).run().refused.map(\.error.code) == [.swapped])
        #expect(try bench.restore(identifier) == image)
    }

    @Test func `another host sees that the backup moved, and reads it there`() throws {
        let theirs = try EngineBench(sharing: bench)
        let identifier = try rotated()
        _ = try CatalogRefresh(theirs.engine, theirs.backend).run()
        #expect(try theirs.restore(identifier) == image)
        try rewrap(identifier)
        #expect(theirs.code { _ = try theirs.restore(identifier) } == .notFound)
        _ = try CatalogRefresh(theirs.engine, theirs.backend).run()
        #expect(try place(identifier, theirs) == place(identifier))
        #expect(try theirs.restore(identifier) == image)
    }

    @Test func `two hosts that rewrap one backup at once lose nothing`() throws {
        let theirs = try EngineBench(sharing: bench)
        let identifier = try rotated()
        _ = try CatalogRefresh(theirs.engine, theirs.backend).run()
        // Theirs runs from begin to end while ours proves.
        _ = try? bench.engine.rewrap(identifier) { done, total in
            if done == total { try rewrap(identifier, theirs) }
        }
        for host in [bench, theirs] {
            _ = try host.engine.rebuildCatalog(from: host.backend)
            try host.orphanJournal()
            try host.engine.cleanUpAfterCrash()
            _ = try host.engine.rebuildCatalog(from: host.backend)
        }
        for host in [bench, theirs] {
            _ = try host.engine.rebuildCatalog(from: host.backend)
            #expect(try host.restore(identifier) == image)
        }
    }

    // MARK: Faults

    /// Operation n of the store fails, for n = 0, 1, 2 … until a rewrap succeeds; each time everything is reopened and looked at.
    @Test(
        .timeLimit(.minutes(3)), arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `a failing operation leaves the old generation or the new one, whole, and nothing else`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        let identifier = try bench.backUp(image)
        var operation = 0
        while operation < 100 {
            _ = try keys.rotate(acme, createdAt: "now")
            bench.store.resetCounts()
            bench.store.failOperation(operation, persistence, moment)
            let failure = bench.code { try rewrap(identifier) }
            let struck = bench.store.faultCount > 0
            let what = "operation \(operation) \(persistence) \(moment): \(String(describing: failure))"
            bench.store.heal()
            // Before anything is cleaned up, the backend alone gives the backup back.
            let witness = try EngineBench(sharing: bench)
            let found = try witness.engine.rebuildCatalog(from: witness.backend)
            #expect(found.registered == [identifier], "\(what)")
            #expect(try witness.restore(identifier) == image, "\(what)")
            #expect(try bench.restore(identifier) == image, "\(what)")
            try bench.orphanJournal()
            try bench.reopen()
            try bench.engine.cleanUpAfterCrash()
            let now = try place(identifier)
            #expect(bench.memory.keys.map(\.string).sorted() == [now.archiveKey, now.manifestKey].sorted(), "\(what)")
            #expect(bench.memory.uploadIdentifiers.isEmpty, "\(what)")
            #expect(try bench.engine.catalog.uploads().isEmpty, "\(what)")
            #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil, "\(what)")
            #expect(bench.code { _ = try bench.engine.verify(identifier, .archive) } == nil, "\(what)")
            if !struck { break }
            operation += 1
        }
        // Begin, header, copy, completion, reads, sidecar, two removals.
        #expect(operation > 6)
        #expect(operation < 100)
    }

    /// The process dies between two steps: what it would have done next never happens.
    @Test(arguments: ["upload", "complete", "sidecar", "removed"])
    func `wherever the process ends, the next start leaves one whole generation`(step: String) throws {
        let identifier = try rotated()
        switch step {
        case "upload": bench.store.failOperation(0, of: .copy, .forGood)
        case "complete": bench.store.failOperation(0, of: .read, .forGood)
        case "sidecar": bench.store.failOperation(0, of: .putIfAbsent, .forGood, .afterEffect)
        default: bench.store.failOperation(1, of: .delete, .forGood)
        }
        // Nobody is left to clean up.
        for operation in [FaultInjectingStore.Operation.abort, .abortUpload] {
            bench.store.failOperation(0, of: operation, .forGood)
        }
        if step != "removed" { bench.store.failOperation(0, of: .delete, .forGood) }
        _ = bench.code { try rewrap(identifier) }
        bench.store.heal()
        try bench.orphanJournal()
        #expect(try bench.engine.catalog.uploads().count == 1)
        try bench.reopen()
        try bench.engine.cleanUpAfterCrash()
        #expect(try bench.engine.catalog.uploads().isEmpty)
        let now = try place(identifier)
        #expect((now.generation > 0) == (step == "sidecar" || step == "removed"))
        #expect(bench.memory.keys.map(\.string).sorted() == [now.archiveKey, now.manifestKey].sorted())
        #expect(bench.memory.uploadIdentifiers.isEmpty)
        #expect(try bench.restore(identifier) == image)
    }
}
