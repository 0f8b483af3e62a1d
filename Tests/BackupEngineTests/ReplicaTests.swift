import Archive
import BackupEngine
import BackupNames
import Catalog
import Foundation
import Storage
import StorageTesting
import Testing

@Suite("Replicas", .timeLimit(.minutes(2)))
struct ReplicaTests {
    private let bench: EngineBench
    private let image = testImage(4_000_000, seed: 9)
    private let identifier: BackupIdentifier
    private let other: ResourceName

    init() throws {
        bench = try EngineBench()
        identifier = try bench.backUp(image)
        other = try ResourceName("other")
    }

    private func replicate() throws { _ = try bench.engine.replicate(identifier, to: other) }

    /// Every seventh chunk of the archive damaged, from the given one on.
    private func damage(_ memory: InMemoryStore, from start: Int) throws {
        let key = try ObjectKey(identifier.archiveKey)
        var bytes = try #require(memory.bytes(of: key))
        var offset = 300 + start * 65_552
        while offset < bytes.count {
            bytes[offset] ^= 1
            offset += 7 * 65_552
        }
        memory.tamper(key, bytes)
    }

    @Test func `a copy is the same archive, a backup of its own, and is known when it is there`() throws {
        guard case .copied(let copy, _) = try bench.engine.replicate(identifier, to: other) else {
            Issue.record("it was not there before")
            return
        }
        #expect("\(copy)".hasPrefix("other:"))
        #expect(
            try bench.memory.bytes(of: ObjectKey(identifier.archiveKey))
                == bench.otherMemory.bytes(of: ObjectKey(copy.archiveKey)))
        #expect(try bench.restore(copy) == image)
        #expect(try bench.engine.check(copy, .raw).isGood)
        guard case .known = try bench.engine.replicate(identifier, to: other) else {
            Issue.record("it is there")
            return
        }
        // From sidecar and key alone.
        try bench.reopen(forgetsCatalog: true)
        #expect(try bench.engine.rebuildCatalog(from: bench.engine.backend(other)).registered == [copy])
        #expect(try bench.restore(copy) == image)
    }

    @Test func `a damaged archive is not copied, and nothing is left`() throws {
        try damage(bench.memory, from: 3)
        #expect(bench.code { try replicate() } == .damaged)
        #expect(bench.otherMemory.keys.isEmpty && bench.otherMemory.uploadIdentifiers.isEmpty)
        #expect(try bench.engine.catalog.uploads().isEmpty)
    }

    @Test func `another's object under the name is left alone`() throws {
        let key = try ObjectKey(identifier.archiveKey)
        _ = try [7 as UInt8].withUnsafeBytes { try bench.otherMemory.putIfAbsent(key, $0) }
        #expect(bench.code { try replicate() } == .alreadyExists)
        #expect(bench.otherMemory.bytes(of: key) == [7])
        #expect(try bench.engine.catalog.uploads().isEmpty)
    }

    @Test(arguments: [FaultInjectingStore.Moment.beforeEffect, .afterEffect])
    func `whatever fails while copying, nothing partial is registered and nothing is left`(
        moment: FaultInjectingStore.Moment
    ) throws {
        var operation = 0
        while operation < 100 {
            bench.otherStore.resetCounts()
            bench.otherStore.failOperation(operation, .forGood, moment)
            _ = bench.code { try replicate() }
            let struck = bench.otherStore.faultCount > 0
            bench.otherStore.heal()
            try bench.orphanJournal()
            try bench.reopen()
            try bench.engine.cleanUpAfterCrash()
            let copy = try bench.engine.catalog.backup(identifier.at(other))
            #expect(bench.otherMemory.keys.count == (copy == nil ? 0 : 2), "operation \(operation)")
            #expect(bench.otherMemory.uploadIdentifiers.isEmpty, "operation \(operation)")
            if copy != nil { try bench.engine.remove(identifier.at(other)) }
            if !struck { break }
            operation += 1
        }
        #expect(operation > 3 && operation < 100)
    }

    @Test func `of two copies that are damaged in different places each gives what it has`() throws {
        try replicate()
        try damage(bench.memory, from: 2)
        try damage(bench.otherMemory, from: 5)
        let report = try bench.engine.check(identifier, .raw)
        #expect(report.findings.count > 1)
        #expect(report.findings.allSatisfy { $0.damage?.isHealed == true && $0.error.code == .damaged })
        #expect(report.lostByteCount == 0 && report.rawSHA256 != nil)
        #expect(bench.engine.replicaUse.healedRanges > 1)
        for mode in [RestoreOptions.Mode.verifyFirst, .stream, .salvage] {
            let path = bench.folder + "/\(mode).raw"
            let result = try bench.engine.restore(identifier, to: path, RestoreOptions(mode: mode))
            #expect(Array(try Data(contentsOf: URL(fileURLWithPath: path))) == image)
            #expect(result.isComplete && result.damage.allSatisfy(\.isHealed) && !result.damage.isEmpty)
        }
        // A byte that no copy has is lost.
        try damage(bench.otherMemory, from: 2)
        #expect(bench.code { _ = try bench.restore(identifier) } == .damaged)
        #expect(try bench.engine.check(identifier, .raw).lostByteCount > 0)
    }

    @Test func `a backend that is away, or has lost the archive, is stood in for`() throws {
        try replicate()
        bench.store.failOperation(0, .forGood, .beforeEffect)
        #expect(try bench.restore(identifier) == image)
        #expect(bench.engine.replicaUse.unreachableRanges > 0)
        #expect(bench.code { _ = try bench.engine.check(identifier, .raw) } == .backendUnavailable)
        bench.store.heal()
        try bench.memory.delete(ObjectKey(identifier.archiveKey))
        #expect(try bench.restore(identifier) == image)
        #expect(try bench.engine.check(identifier, .raw).findings.map(\.error.code) == [.notFound])
    }
}
