import BackupEngine
import BackupNames
internal import Catalog
internal import CryptoPrimitives
import Foundation
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Synchronization
import Testing
internal import Workers

@Suite("Backup and restore")
struct BackupAndRestoreTests {
    static let frame = 64 << 10

    @Test(.timeLimit(.minutes(1)), arguments: [1, 511, 512, 513, frame - 1, frame, frame + 1, 40 * frame + 77])
    func `an image of any size comes back byte for byte`(byteCount: Int) throws {
        let bench = try EngineBench()
        let image = testImage(byteCount, seed: UInt64(byteCount))
        let identifier = try bench.backUp(image)
        #expect(try bench.restore(identifier) == image)
        #expect(try bench.engine.verify(identifier, .archive).rawByteCount == UInt64(byteCount))
        #expect(try bench.engine.catalog.uploads().isEmpty)
        #expect(bench.memory.keys.count == 2)
    }

    @Test(.timeLimit(.minutes(1)))
    func `an empty source is refused, and nothing is left of it`() throws {
        let bench = try EngineBench()
        #expect(bench.code { try bench.backUp([]) } == .emptyImage)
        #expect(bench.memory.keys.isEmpty)
        #expect(try bench.engine.catalog.uploads().isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `an org without a key is refused before anything is done`() throws {
        let bench = try EngineBench()
        #expect(bench.code { try bench.backUp([1], as: bench.disk("nobody")) } == .noKey)
        #expect(bench.store.operationCount == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a key that is not the archive's is named as the wrong key`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(100_000, seed: 1))
        let key = bench.folder + "/keys/acme.agekey"
        try FileManager.default.removeItem(atPath: key)
        #expect(bench.code { _ = try bench.engine.open(identifier) } == .noKey)
        _ = try KeyDirectory(path: bench.folder + "/keys").create(ResourceName("acme"), createdAt: "later")
        // Another key has another seal key: the manifest is the first thing that does not fit.
        #expect(bench.code { _ = try bench.engine.open(identifier) } == .notAuthentic)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a write-only host backs up and cannot read`() throws {
        let bench = try EngineBench()
        let keys = KeyDirectory(path: bench.folder + "/keys")
        let writeOnly = try keys.exportWriteOnly(ResourceName("acme"))
        let identityPath = bench.folder + "/keys/acme.agekey"
        let kept = bench.folder + "/kept.agekey"
        try FileManager.default.moveItem(atPath: identityPath, toPath: kept)
        _ = try writeOnly.withUnsafeBytes { try keys.importKey(ResourceName("acme"), $0) }
        let image = testImage(500_000, seed: 2)
        let identifier = try bench.backUp(image)
        #expect(bench.code { _ = try bench.engine.open(identifier) } == .noKey)
        #expect(try bench.engine.verify(identifier, .archive).rawSHA256 == nil)
        try FileManager.default.moveItem(atPath: kept, toPath: identityPath)
        #expect(try bench.restore(identifier) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `two backups in one second get two dates`() throws {
        let bench = try EngineBench()
        let path = try bench.file("a.raw", [1, 2, 3])
        let backend = try bench.engine.backend(bench.backendName)
        let names = try (0..<3).map { _ in
            try bench.engine.backUp(ImageFile.open(path), as: bench.disk(), to: backend).manifest.identifier.date
        }
        #expect(Set(names).count == 3)
    }

    @Test(.timeLimit(.minutes(1)))
    func `an image that became shorter is refused unless its length is known`() throws {
        let bench = try EngineBench()
        try bench.backUp(testImage(200_000, seed: 3))
        // A file's length is known, so this is a smaller disk.
        try bench.backUp(testImage(100_000, seed: 4))
        let session = try BackupSession(
            engine: bench.engine, backend: bench.engine.backend(bench.backendName), disk: bench.disk(),
            consistency: "none")
        let buffer = try session.takeFrameBuffer()
        buffer.bytes[0] = 1
        try session.submit(buffer, count: 10)
        #expect(bench.code { try session.finishUpload(declaredByteCount: nil) } == .incompleteImage)
        #expect(bench.memory.keys.count == 4)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a lost catalog is rebuilt from the backend and the key alone`() throws {
        let bench = try EngineBench()
        let images = (0..<3).map { testImage(150_000 + $0, seed: UInt64(10 + $0)) }
        let identifiers = try images.map { try bench.backUp($0) }
        try bench.reopen(forgetsCatalog: true)
        #expect(try bench.engine.catalog.allBackups().isEmpty)
        let result = try bench.engine.rebuildCatalog(from: bench.engine.backend(bench.backendName))
        #expect(Set(result.registered) == Set(identifiers))
        #expect(result.refused.isEmpty)
        for (identifier, image) in zip(identifiers, images) { #expect(try bench.restore(identifier) == image) }
        let again = try bench.engine.rebuildCatalog(from: bench.engine.backend(bench.backendName))
        #expect(again.known.count == 3 && again.registered.isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a rebuild takes in nothing that cannot be proven`() throws {
        let bench = try EngineBench()
        let first = try bench.backUp(testImage(150_000, seed: 20))
        let second = try bench.backUp(testImage(150_000, seed: 21))
        let third = try bench.backUp(testImage(150_000, seed: 22))
        // One sidecar is damaged, one is missing, one lies beside another backup's archive.
        try bench.tamper(first.manifestKey) { $0[$0.count / 2] ^= 1 }
        try bench.memory.delete(ObjectKey(second.manifestKey))
        let other = try #require(bench.memory.bytes(of: ObjectKey(second.archiveKey)))
        try bench.tamper(third.archiveKey) { $0 = other }
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.engine.backend(bench.backendName))
        #expect(result.registered.isEmpty)
        #expect(result.refused.count == 3)
        #expect(result.refused.contains { $0.error.code == .sidecarMissing })
        #expect(result.refused.contains { $0.error.code == .swapped || $0.error.code == .truncated })
    }

    @Test(.timeLimit(.minutes(1)))
    func `archives that were swapped, replayed or cut are refused by name`() throws {
        let bench = try EngineBench()
        let first = try bench.backUp(testImage(300_000, seed: 30))
        let second = try bench.backUp(testImage(300_000, seed: 30))
        let firstKey = try ObjectKey(first.archiveKey)
        let good = try #require(bench.memory.bytes(of: firstKey))
        let other = try #require(bench.memory.bytes(of: ObjectKey(second.archiveKey)))
        try bench.tamper(first.archiveKey) { $0 = other }
        #expect(bench.code { _ = try bench.restore(first) } == .swapped)
        try bench.tamper(first.archiveKey) { $0 = Array(good.dropLast(1)) }
        #expect(bench.code { _ = try bench.restore(first) } == .truncated)
        try bench.tamper(first.archiveKey) { $0 = good + [0] }
        #expect(bench.code { _ = try bench.restore(first) } == .truncated)
        for place in [good.count / 2, good.count - 1] {
            try bench.tamper(first.archiveKey) {
                $0 = good
                $0[place] ^= 0x10
            }
            #expect(bench.code { _ = try bench.restore(first) } == .damaged, "byte \(place)")
            #expect(bench.code { _ = try bench.engine.verify(first, .archive) } == .damaged)
        }
        try bench.tamper(first.archiveKey) { $0 = good }
        #expect(bench.code { _ = try bench.restore(first) } == nil)
    }

    @Test(.timeLimit(.minutes(1)))
    func `of several backups of one disk in one second each gets a name of its own`() throws {
        let bench = try EngineBench()
        let path = try bench.file("source.raw", testImage(100_000, seed: 1))
        let (engine, disk) = (bench.engine, try bench.disk())
        let backend = try engine.backend(bench.backendName)
        let failures = Mutex<[String]>([])
        let threads = (0..<8).map { _ in
            NativeThread(name: "backup") {
                do {
                    _ = try engine.backUp(ImageFile.open(path), as: disk, to: backend)
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 } == [])
        #expect(try Set(engine.catalog.allBackups().map(\.identifier)).count == 8)
        #expect(bench.memory.keys.count == 16)
    }

    @Test(.timeLimit(.minutes(1)))
    func `an upload that cannot be removed stays in the journal until it is`() throws {
        let bench = try EngineBench()
        let session = try BackupSession(
            engine: bench.engine, backend: bench.engine.backend(bench.backendName), disk: bench.disk(),
            consistency: "none")
        bench.memory.setAvailable(false)
        session.abort()
        #expect(try bench.engine.catalog.uploads().count == 1)
        bench.memory.setAvailable(true)
        try bench.orphanJournal()
        try bench.engine.cleanUpAfterCrash()
        #expect(try bench.engine.catalog.uploads().isEmpty)
        #expect(bench.memory.uploadIdentifiers.isEmpty)
    }
}
