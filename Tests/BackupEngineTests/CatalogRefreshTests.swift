import BackupEngine
import BackupNames
internal import Catalog
import Foundation
import OrgKeys
import Storage
import StorageTesting
import Synchronization
import Testing
internal import Workers

@Suite("Refresh of the catalog by listing")
struct CatalogRefreshTests {
    /// Two hosts with one backend: each has a catalog of its own.
    private func hosts() throws -> (ours: EngineBench, theirs: EngineBench) {
        let ours = try EngineBench()
        return (ours, try EngineBench(sharing: ours))
    }

    private func refresh(_ bench: EngineBench, limit: Int = CatalogRefresh.fetchLimit) throws -> RefreshResult {
        try CatalogRefresh(bench.engine, bench.backend).run(fetchLimit: limit)
    }

    /// Objects that are no sidecars, at the places of sidecars.
    private func plant(_ count: Int, in bench: EngineBench, vm: String = "aaa") throws {
        for index in 0..<count {
            let date = BackupDate(secondsSince1970: 1_000_000 + Int64(index))
            let key = try ObjectKey("acme/\(vm)/\(date)/disk.manifest.age")
            _ = try Array("age-encryption.org/v1\nno \(index)\n".utf8).withUnsafeBytes {
                try bench.memory.putIfAbsent(key, $0)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `another host's backup appears, and is read`() throws {
        let (ours, theirs) = try hosts()
        let image = testImage(200_000, seed: 1)
        let identifier = try theirs.backUp(image)
        #expect(try refresh(ours).registered == [identifier])
        #expect(try ours.restore(identifier) == image)
        let again = try refresh(ours)
        #expect(again.registered.isEmpty && again.refusedCount == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a round in which nothing is new costs one listing and no read`() throws {
        let (ours, theirs) = try hosts()
        for seed in 0..<3 { try theirs.backUp(testImage(1000, seed: UInt64(seed))) }
        #expect(try refresh(ours).registered.count == 3)
        ours.store.resetCounts()
        #expect(try refresh(ours).registered.isEmpty)
        #expect(ours.store.operationCount == 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `what was refused is remembered, and looked at again when it changes`() throws {
        let (ours, theirs) = try hosts()
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        let good = try #require(ours.memory.bytes(of: ObjectKey(identifier.manifestKey)))
        try ours.tamper(identifier.manifestKey) { $0[$0.count - 20] ^= 1 }
        #expect(try refresh(ours).refusedCount == 1)
        ours.store.resetCounts()
        let again = try refresh(ours)
        #expect(again.refusedCount == 0 && again.rememberedCount == 1)
        #expect(ours.store.operationCount == 1, "a refused sidecar was fetched again")
        try ours.tamper(identifier.manifestKey) { $0 = good }
        #expect(try refresh(ours).registered == [identifier])
        #expect(try ours.engine.catalog.refusedSidecars(at: ours.backendName).isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `an archive that comes after its sidecar is found an hour later, a forgery is looked at once a day`() throws {
        let (ours, theirs) = try hosts()
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        let archive = try ObjectKey(identifier.archiveKey)
        let bytes = try #require(ours.memory.bytes(of: archive))
        try ours.memory.delete(archive)
        try plant(1, in: ours)
        #expect(try refresh(ours).refusedCount == 2)
        ours.memory.tamper(archive, bytes)
        ours.clock.advance(3599)
        #expect(try refresh(ours).rememberedCount == 2)
        ours.clock.advance(1)
        #expect(try refresh(ours).registered == [identifier])
        ours.clock.advance(86_400 - 3601)
        #expect(try refresh(ours).rememberedCount == 1)
        ours.clock.advance(1)
        #expect(try refresh(ours).refusedCount == 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a new key looks at everything anew`() throws {
        let (ours, theirs) = try hosts()
        let acme = try ResourceName("acme")
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        let path = ours.keysPath + "/acme.agekey"
        let kept = try Data(contentsOf: URL(fileURLWithPath: path))
        try FileManager.default.removeItem(atPath: path)
        #expect(try refresh(ours).unreadableCount == 1)
        _ = try KeyDirectory(path: ours.keysPath).create(acme, createdAt: "later")
        #expect(try refresh(ours).refusedCount == 1)
        #expect(try refresh(ours).rememberedCount == 1)
        try kept.write(to: URL(fileURLWithPath: path))
        #expect(try refresh(ours).registered == [identifier])
    }

    @Test(.timeLimit(.minutes(2)))
    func `thousands of fake sidecars fill neither the round nor the catalog, and what is genuine comes by`() throws {
        let (ours, theirs) = try hosts()
        try plant(2500, in: ours)
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        let round = try CatalogRefresh(ours.engine, ours.backend)
        var rounds = 0
        var found: [BackupIdentifier] = []
        while found.isEmpty, rounds < 10 {
            ours.store.resetCounts()
            let result = try round.run(fetchLimit: 1000)
            found = result.registered
            rounds += 1
            #expect(result.refusedCount <= 1000)
            #expect(ours.store.operationCount <= 1100)
            #expect(result.refused.count <= 100)
        }
        #expect(found == [identifier])
        #expect(rounds == 3)
        // All are remembered: nothing is left to do.
        #expect(try round.run().rememberedCount == 2500)
    }

    @Test(.timeLimit(.minutes(3)))
    func `of a hundred thousand fake sidecars a round reads a thousand, the next one goes on`() throws {
        let count = 100_000
        let ours = try EngineBench(fakeSidecarCount: count)
        try EngineBench(sharing: ours).backUp(testImage(1000, seed: 1))
        let round = try CatalogRefresh(ours.engine, ours.backend)
        for looked in [1000, 2000] {
            ours.store.resetCounts()
            let result = try round.run()
            #expect(result.refusedCount == 1000 && result.refused.count == 100 && result.registered.isEmpty)
            #expect(result.rememberedCount == looked - 1000)
            #expect(result.leftCount == count + 1 - looked)
            #expect(ours.store.count(of: .list) <= count / 1000 + 2)
            #expect(ours.store.count(of: .read) + ours.store.count(of: .head) <= 2000)
        }
        #expect(try ours.engine.catalog.refusedSidecars(at: ours.backendName).count == 2000)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a round that stopped goes on behind that place, even if nothing could be remembered`() throws {
        let (ours, theirs) = try hosts()
        try plant(30, in: ours)
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        let round = try CatalogRefresh(ours.engine, ours.backend)
        var rounds = 0
        while rounds < 4 {
            let result = try round.run(fetchLimit: 10)
            // As if a million came: of those looked at none is remembered.
            try ours.engine.catalog.noteRefused(
                [RefusedSidecar(manifestKey: "x", version: "", refusedAt: 0, detail: "")], at: ours.backendName,
                limit: 0)
            rounds += 1
            if result.registered == [identifier] { break }
        }
        #expect(rounds == 4)
        #expect(try ours.engine.catalog.backup(identifier) != nil)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a backend that goes away is an error, and what was not looked at is looked at later`() throws {
        let (ours, theirs) = try hosts()
        for seed in 0..<4 { try theirs.backUp(testImage(1000, seed: UInt64(seed))) }
        ours.store.resetCounts()
        ours.store.failOperation(6, .forGood, .beforeEffect)
        #expect(ours.code { _ = try refresh(ours) } == .backendUnavailable)
        ours.store.heal()
        #expect(try ours.engine.catalog.refusedSidecars(at: ours.backendName).isEmpty)
        _ = try refresh(ours)
        #expect(try ours.engine.catalog.allBackups().count == 4)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a backup that this host is making is left to whoever makes it`() throws {
        let bench = try EngineBench()
        let session = try BackupSession(
            engine: bench.engine, backend: bench.backend, disk: bench.disk(), consistency: "none")
        let buffer = try session.takeFrameBuffer()
        buffer.bytes[0] = 1
        try session.submit(buffer, count: 10)
        try session.finishUpload(declaredByteCount: nil)
        // The sidecar is there, the row is not: the moment in between.
        bench.store.resetCounts()
        let engine = bench.engine
        let seen = Mutex<[String]>([])
        bench.store.afterOperation(0, of: .putIfAbsent) { [backend = try bench.backend] in
            let refreshed = try? CatalogRefresh(engine, backend).run()
            let rebuilt = try? engine.rebuildCatalog(from: backend)
            seen.withLock { $0.append("\(refreshed?.registered.count ?? -1) \(rebuilt?.registered.count ?? -1)") }
        }
        try session.register()
        #expect(seen.withLock { $0 } == ["0 0"])
        #expect(try engine.catalog.allBackups().map(\.identifier) == [session.identifier])
        #expect(bench.memory.keys.count == 2)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a backup that is removed while it is taken in leaves no row`() throws {
        let (ours, theirs) = try hosts()
        let identifier = try theirs.backUp(testImage(1000, seed: 1))
        // The last read before the row: header and tail are through, and then the other host removes the backup.
        ours.store.resetCounts()
        let engine = theirs.engine
        ours.store.afterOperation(2, of: .read) { try? engine.remove(identifier) }
        let result = try refresh(ours)
        #expect(result.registered.isEmpty && result.refusedCount == 0)
        #expect(try ours.engine.catalog.allBackups().isEmpty)
        #expect(ours.memory.keys.isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a rebuild reports archives without sidecars, each once, through pages of any size`() throws {
        let bench = try EngineBench()
        var lone: [String] = []
        for seed in 0..<6 {
            let identifier = try bench.backUp(testImage(1000, seed: UInt64(seed)))
            if seed % 2 == 0 {
                try bench.memory.delete(ObjectKey(identifier.manifestKey))
                lone.append(identifier.archiveKey)
            }
        }
        try bench.reopen(forgetsCatalog: true)
        for limit in [1, 2, 3, 100] {
            bench.memory.limitPages(to: limit)
            let result = try bench.engine.rebuildCatalog(from: bench.backend)
            #expect(result.refused.map(\.name).sorted() == lone.sorted(), "pages of \(limit)")
            #expect(result.registered.count + result.known.count == 3)
        }
    }
}
