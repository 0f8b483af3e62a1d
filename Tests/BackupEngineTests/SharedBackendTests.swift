import BackupEngine
import BackupNames
internal import Catalog
import Storage
import StorageTesting
import Testing
internal import Workers

/// Two hosts that back up the same disk to the same backend in the same second, as a pair of a fail-over cluster may.
@Suite("One disk, two hosts, one second")
struct SharedBackendTests {
    private let ours: EngineBench
    private let theirs: EngineBench

    init() throws {
        ours = try EngineBench()
        theirs = try EngineBench(sharing: ours)
    }

    private func session(_ bench: EngineBench, _ byte: UInt8) throws -> BackupSession {
        let session = try BackupSession(
            engine: bench.engine, backend: bench.backend, disk: bench.disk(), consistency: "none")
        let buffer = try session.takeFrameBuffer()
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: byte)
        try session.submit(buffer, count: 1000)
        return session
    }

    private func finish(_ session: BackupSession) throws {
        try session.finishUpload(declaredByteCount: nil)
        try session.register()
    }

    @Test(.timeLimit(.minutes(1)))
    func `the first one to be whole is the backup, the other fails and leaves nothing`() throws {
        let (first, second) = (try session(ours, 1), try session(theirs, 2))
        #expect(first.identifier == second.identifier)
        try finish(first)
        #expect(theirs.code { try finish(second) } == .alreadyExists)
        #expect(ours.memory.keys.count == 2)
        #expect(ours.memory.uploadIdentifiers.isEmpty)
        #expect(try theirs.engine.catalog.uploads().isEmpty)
        #expect(try ours.restore(first.identifier) == [UInt8](repeating: 1, count: 1000))
        #expect(try CatalogRefresh(theirs.engine, theirs.backend).run().registered == [first.identifier])
    }

    @Test(.timeLimit(.minutes(1)), arguments: [false, true])
    func `a host that died over it leaves the other's backup alone when it starts again`(hasSent: Bool) throws {
        let (first, second) = (try session(ours, 1), try session(theirs, 2))
        if hasSent {
            // All is sent, and the process dies as it asks for the name.
            let engine = theirs.engine
            let journal = try #require(try engine.catalog.uploads().first?.id)
            try engine.catalog.updateUpload(journal, phase: .complete)
        }
        try finish(first)
        try theirs.orphanJournal()
        try theirs.engine.cleanUpAfterCrash()
        #expect(ours.memory.keys.count == 2)
        #expect(try ours.restore(first.identifier) == [UInt8](repeating: 1, count: 1000))
        #expect(try theirs.engine.catalog.uploads().isEmpty)
        second.cancelWriter()
    }

    @Test(.timeLimit(.minutes(1)))
    func `what was complete when its process died is registered by the next start`() throws {
        let session = try session(ours, 1)
        try session.finishUpload(declaredByteCount: nil)
        // The sidecar is put, and then nothing more is done.
        ours.store.failOperation(0, of: .putIfAbsent, .once, .afterEffect)
        ours.store.failOperation(0, of: .delete, .forGood)
        #expect(ours.code { try session.register() } == .backendUnavailable)
        #expect(ours.memory.keys.count == 2)
        // What was given up is not: its entry says so.
        let entry = try #require(try ours.engine.catalog.uploads().first)
        #expect(entry.phase == .remove)
        try ours.engine.catalog.updateUpload(#require(entry.id), phase: .complete)
        ours.store.heal()
        try ours.orphanJournal()
        try ours.engine.cleanUpAfterCrash()
        #expect(try ours.engine.catalog.allBackups().map(\.identifier) == [session.identifier])
        #expect(try ours.restore(session.identifier) == [UInt8](repeating: 1, count: 1000))
    }

    @Test(.timeLimit(.minutes(1)))
    func `what was given up is removed by the next start`() throws {
        let session = try session(ours, 1)
        try session.finishUpload(declaredByteCount: nil)
        ours.store.failOperation(0, of: .putIfAbsent, .once, .afterEffect)
        ours.store.failOperation(0, of: .delete, .once)
        #expect(ours.code { try session.register() } == .backendUnavailable)
        #expect(ours.memory.keys.count == 2)
        try ours.orphanJournal()
        try ours.engine.cleanUpAfterCrash()
        #expect(ours.memory.keys.isEmpty)
        #expect(try ours.engine.catalog.allBackups().isEmpty)
    }
}
