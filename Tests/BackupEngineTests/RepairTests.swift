internal import AgeFormat
import BackupEngine
import BackupNames
import Catalog
import Foundation
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Testing

@Suite("Repair", .timeLimit(.minutes(2)))
struct RepairTests {
    private let bench: EngineBench
    private let image = testImage(3_000_000, seed: 11)
    private let identifier: BackupIdentifier
    private let other: ResourceName
    private let good: [UInt8]

    init() throws {
        bench = try EngineBench()
        identifier = try bench.backUp(image)
        other = try ResourceName("other")
        good = try #require(bench.memory.bytes(of: ObjectKey(identifier.archiveKey)))
    }

    private func replicate() throws { _ = try bench.engine.replicate(identifier, to: other) }

    private func place(_ identifier: BackupIdentifier) throws -> BackupPlace {
        try #require(try bench.engine.catalog.backup(identifier)).place
    }

    /// Every seventh chunk, from the given one on.
    private func damage(_ memory: InMemoryStore, from start: Int) throws {
        var bytes = good
        for offset in stride(from: 300 + start * 65_552, to: bytes.count, by: 7 * 65_552) { bytes[offset] ^= 1 }
        memory.tamper(try ObjectKey(identifier.archiveKey), bytes)
    }

    private func repair(_ depth: CheckDepth = .raw) throws -> RepairResult {
        try bench.engine.repair(bench.engine.check(identifier, depth))
    }

    private func isArchive(_ result: RepairResult) -> Bool { if case .archive = result { true } else { false } }

    /// Whole by itself: replicas do not stand in for anything, and a bare machine finds it.
    private func expectWhole(_ note: String = "", sourceLocation: SourceLocation = #_sourceLocation) throws {
        let now = try place(identifier)
        #expect(
            try bench.memory.bytes(of: ObjectKey(now.archiveKey)) == good, "\(note)", sourceLocation: sourceLocation)
        #expect(
            bench.memory.keys.map(\.string).sorted() == [now.archiveKey, now.manifestKey].sorted(), "\(note)",
            sourceLocation: sourceLocation)
        #expect(bench.memory.uploadIdentifiers.isEmpty, "\(note)", sourceLocation: sourceLocation)
        #expect(try bench.engine.catalog.uploads().isEmpty, "\(note)", sourceLocation: sourceLocation)
        let witness = try EngineBench(sharing: bench)
        #expect(
            try witness.engine.rebuildCatalog(from: witness.backend).registered == [identifier], "\(note)",
            sourceLocation: sourceLocation)
        #expect(try witness.restore(identifier) == image, "\(note)", sourceLocation: sourceLocation)
    }

    @Test func `what is damaged is taken from the replica, and the archive is whole again by itself`() throws {
        try replicate()
        try damage(bench.memory, from: 2)
        #expect(isArchive(try repair()))
        try expectWhole()
        #expect(try bench.engine.catalog.checks(identifier).allSatisfy(\.isGood))
        #expect(try bench.engine.catalog.checks(identifier).count == 3)
        #expect(try bench.engine.catalog.damage(identifier).isEmpty)
        #expect(try bench.engine.open(identifier).hasReplicas, "they are replicas of each other still")
        #expect(try bench.engine.check(identifier, .raw).isGood)
        guard case .nothing = try repair() else {
            Issue.record("it is whole")
            return
        }
    }

    @Test func `of two copies that are damaged in different places one whole is made`() throws {
        try replicate()
        try damage(bench.memory, from: 2)
        try damage(bench.otherMemory, from: 5)
        #expect(isArchive(try repair()))
        try expectWhole()
        let copy = identifier.at(other)
        #expect(isArchive(try bench.engine.repair(bench.engine.check(copy, .archive))))
        #expect(try bench.otherMemory.bytes(of: ObjectKey(place(copy).archiveKey)) == good)
    }

    @Test(arguments: ["missing", "cut", "extended", "another"])
    func `an archive that is no archive any more comes back`(
        what: String
    ) throws {
        try replicate()
        let key = try ObjectKey(identifier.archiveKey)
        switch what {
        case "missing": try bench.memory.delete(key)
        case "cut": bench.memory.tamper(key, Array(good[..<(good.count / 2)]))
        case "extended": bench.memory.tamper(key, good + good[..<1000])
        default: bench.memory.tamper(key, Array(good.reversed()))
        }
        #expect(isArchive(try repair(what == "another" ? .archive : .presence)))
        try expectWhole()
    }

    @Test func `what was appended goes without a replica, too`() throws {
        bench.memory.tamper(try ObjectKey(identifier.archiveKey), good + [1, 2, 3])
        #expect(isArchive(try repair()))
        try expectWhole()
    }

    @Test func `without a copy that has the bytes nothing is changed, and that is said`() throws {
        try damage(bench.memory, from: 2)
        let before = (bench.memory.keys, try bench.memory.bytes(of: ObjectKey(identifier.archiveKey)))
        #expect(bench.code { _ = try repair() } == .damaged)
        // Nor where the copy is damaged in the same place, or the org's key only seals.
        try replicateDamaged()
        #expect(bench.code { _ = try repair() } == .damaged)
        #expect(bench.memory.keys == before.0)
        #expect(try bench.memory.bytes(of: ObjectKey(identifier.archiveKey)) == before.1)
        #expect(try bench.engine.catalog.uploads().isEmpty && bench.memory.uploadIdentifiers.isEmpty)
        #expect(try bench.engine.catalog.checks(identifier).contains { $0.depth == .raw && !$0.isGood })
        #expect(try !bench.engine.catalog.damage(identifier).isEmpty)
    }

    private func replicateDamaged() throws {
        let key = try ObjectKey(identifier.archiveKey)
        bench.memory.tamper(key, good)
        try replicate()
        try damage(bench.memory, from: 2)
        try damage(bench.otherMemory, from: 2)
    }

    @Test func `a replica that is away is waited for by whoever asks, and not taken for damage`() throws {
        try replicate()
        try damage(bench.memory, from: 2)
        let report = try bench.engine.check(identifier, .raw)
        bench.otherStore.failOperation(0, of: .read, .forGood)
        #expect(bench.code { _ = try bench.engine.repair(report) } == .backendUnavailable)
        bench.otherStore.heal()
        #expect(isArchive(try bench.engine.repair(report)))
        try expectWhole()
    }

    @Test(arguments: ["missing", "edited", "another's"]) func `a sidecar comes back from the catalog`(what: String)
        throws
    {
        let key = try ObjectKey(identifier.manifestKey)
        let sidecar = try #require(bench.memory.bytes(of: key))
        switch what {
        case "missing": try bench.memory.delete(key)
        case "edited": try bench.tamper(identifier.manifestKey) { $0[sidecar.count - 30] ^= 1 }
        default:
            let second = try bench.backUp(testImage(1000, seed: 3))
            let others = try #require(bench.memory.bytes(of: ObjectKey(second.manifestKey)))
            try bench.engine.remove(second)
            bench.memory.tamper(key, others)
        }
        guard case .sidecar = try repair() else {
            Issue.record("only the sidecar is wrong")
            return
        }
        #expect(try place(identifier).generation == 0)
        try expectWhole()
        #expect(try bench.engine.catalog.checks(identifier).allSatisfy(\.isGood))
    }

    @Test func `an older key's backup is sealed by that key still`() throws {
        try replicate()
        let keys = KeyDirectory(path: bench.keysPath)
        let acme = try ResourceName("acme")
        let first = try keys.key(for: acme).recipient
        _ = try keys.rotate(acme, createdAt: "now")
        try damage(bench.memory, from: 1)
        #expect(isArchive(try repair()))
        #expect(bench.code { try bench.engine.removeKey(acme, first) } == .keyInUse)
        #expect(try bench.engine.open(identifier).manifest.recipients == [first.string])
        try expectWhole()
    }

    /// Operation n of the damaged archive's store fails, for n = 0, 1, 2 … until a repair succeeds.
    @Test(arguments: [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `whatever fails on the way, no copy is worse than before, and the next one succeeds`(
        moment: FaultInjectingStore.Moment
    ) throws {
        try replicate()
        var operation = 0
        while operation < 200 {
            let now = try place(identifier)
            var bad = good
            bad[bad.count / 2] ^= 1
            bench.memory.tamper(try ObjectKey(now.archiveKey), bad)
            let report = try bench.engine.check(identifier, .raw)
            bench.store.resetCounts()
            bench.store.failOperation(operation, .forGood, moment)
            _ = bench.code { _ = try bench.engine.repair(report) }
            let struck = bench.store.faultCount > 0
            bench.store.heal()
            #expect(try bench.restore(identifier) == image, "operation \(operation)")
            try bench.orphanJournal()
            try bench.reopen()
            try bench.engine.cleanUpAfterCrash()
            #expect(try bench.restore(identifier) == image, "operation \(operation)")
            _ = try repair(.archive)
            try expectWhole("operation \(operation)")
            if !struck { break }
            operation += 1
        }
        #expect(operation > 6 && operation < 200)
    }
}
