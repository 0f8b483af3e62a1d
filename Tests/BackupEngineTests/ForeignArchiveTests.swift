import AgeFormat
import Archive
import BackupNames
internal import Catalog
import Foundation
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Testing

@testable import BackupEngine

/// Archives that a shell pipeline made, registered where they lie.
@Suite("Foreign archives")
struct ForeignArchiveTests {
    private static let object = "old/web-2025.zst.age"
    private static let date = "2025-06-01T03-00-00Z"
    /// Three pieces of 1 MiB and some.
    private static let byteCount = 3 << 20 + 4321

    /// Bytes as the `zstd` program packs them.
    private func packed(_ bench: EngineBench, _ raw: [UInt8], _ options: String = "-3") throws -> [UInt8] {
        let path = try bench.file("packed.raw", raw)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", "timeout 50 zstd -q -f \(options) '\(path)' -o '\(path).zst'"]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return Array(try Data(contentsOf: URL(fileURLWithPath: path + ".zst")))
    }

    /// Puts an object as `age -r` would write it to the backend.
    private func put(_ bench: EngineBench, _ plaintext: [UInt8], as object: String = object) throws {
        let recipient = try bench.engine.key(of: ResourceName("acme")).recipient
        let archive = try Age.encrypt(plaintext, to: [recipient])
        _ = try archive.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey(object), $0) }
    }

    @discardableResult
    private func importObject(
        _ bench: EngineBench, _ object: String = object, date: String = date
    ) throws -> Manifest {
        try bench.engine.importArchive(object, as: bench.disk(), of: BackupDate(date), at: bench.backend).manifest
    }

    /// A bench with an imported archive of that image.
    private func bench(_ image: [UInt8], _ options: String = "-3") throws -> (EngineBench, BackupIdentifier) {
        let bench = try EngineBench()
        try put(bench, packed(bench, image, options))
        return (bench, try importObject(bench).identifier)
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["-1", "-3 --no-check", "-19 --long=24"], [1, 65536, byteCount])
    func `a plain archive is imported where it lies, verified and restored`(options: String, count: Int) throws {
        let image = testImage(count, seed: UInt64(count))
        let (bench, identifier) = try bench(image, options)
        #expect(bench.memory.keys.map(\.string).sorted() == [identifier.manifestKey, Self.object].sorted())
        #expect(try bench.engine.catalog.uploads().isEmpty)
        let summary = try #require(try bench.engine.catalog.backup(identifier))
        #expect(summary.rawByteCount == UInt64(count))
        #expect(summary.createdAt == (try BackupDate(Self.date)).secondsSince1970)
        for depth in CheckDepth.allCases {
            #expect(try bench.engine.check(identifier, depth).isGood)
        }
        #expect(try bench.restore(identifier) == image)
        let drill = try bench.engine.drill(identifier, to: .scratch(folder: bench.folder, capByteCount: 8 << 20))
        #expect(drill.failure == nil && drill.record.outcome == RunRecord.good)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a bare machine takes it in again from its sidecar, and nothing is reported as lone`() throws {
        let image = testImage(200_000, seed: 5)
        let bench = try EngineBench()
        let object = "old/machine.raw.zst.age"
        try put(bench, packed(bench, image), as: object)
        let identifier = try importObject(bench, object).identifier
        let before = try bench.engine.catalog.access(identifier)
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(result.registered == [identifier])
        #expect(result.refusedCount == 0, "\(result.refused)")
        #expect(try bench.engine.catalog.access(identifier) == before)
        #expect(try bench.restore(identifier) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `one of ours keeps its frames`() throws {
        let image = testImage(300_000, seed: 6)
        let bench = try EngineBench()
        let made = try bench.backUp(image)
        let bytes = try #require(bench.memory.bytes(of: ObjectKey(made.archiveKey)))
        _ = try bytes.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey(Self.object), $0) }
        let manifest = try importObject(bench)
        #expect(!manifest.isForeign)
        let (first, second) = (try bench.engine.open(made), try bench.engine.open(manifest.identifier))
        #expect(try first.reader.seekTable == second.reader.seekTable)
        #expect(first.manifest.rawSHA256 == manifest.rawSHA256)
        #expect(try bench.restore(manifest.identifier) == image)
        #expect(try bench.engine.check(manifest.identifier, .raw).isGood)
    }

    @Test(.timeLimit(.minutes(1)))
    func `what cannot be imported leaves nothing behind`() throws {
        let bench = try EngineBench()
        let raw = testImage(300_000, seed: 7)
        let stream = try packed(bench, raw)
        try put(bench, Array("plain text, not zstd".utf8), as: "text.age")
        try put(bench, Array(stream.dropLast(7)), as: "cut.age")
        try put(bench, try packed(bench, []), as: "empty.age")
        let stranger = AgeIdentity.generate()
        let foreign = try Age.encrypt(stream, to: [stranger.recipient])
        _ = try foreign.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey("stranger.age"), $0) }
        _ = try stream.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey("plain.zst"), $0) }
        let count = bench.memory.keys.count
        #expect(bench.code { try importObject(bench, "text.age") } == .damaged)
        #expect(bench.code { try importObject(bench, "cut.age") } == .damaged)
        #expect(bench.code { try importObject(bench, "empty.age") } == .emptyImage)
        #expect(bench.code { try importObject(bench, "stranger.age") } == .wrongKey)
        #expect(bench.code { try importObject(bench, "plain.zst") } == .damaged)
        #expect(bench.code { try importObject(bench, "absent.age") } == .notFound)
        #expect(bench.code { try importObject(bench, "../x") } == .invalidName)
        #expect(bench.memory.keys.count == count)
        #expect(try bench.engine.catalog.uploads().isEmpty)
        #expect(try bench.engine.catalog.allBackups().isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a name or an object that is taken is refused`() throws {
        let bench = try EngineBench()
        let made = try bench.backUp(testImage(1000, seed: 8))
        try put(bench, packed(bench, testImage(2000, seed: 9)))
        #expect(bench.code { try importObject(bench, date: made.date.description) } == .alreadyExists)
        #expect(bench.code { try importObject(bench, made.archiveKey) } == .alreadyExists)
        try importObject(bench)
        #expect(bench.code { try importObject(bench) } == .alreadyExists)
        #expect(bench.code { try importObject(bench, date: "2025-06-02T03-00-00Z") } == .alreadyExists)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a flipped bit is named, and costs all that is behind it`() throws {
        let image = (0..<Self.byteCount).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }
        let (bench, identifier) = try bench(image)
        let size = try #require(bench.memory.bytes(of: ObjectKey(Self.object))).count
        try bench.tamper(Self.object) { $0[size / 2] ^= 1 }
        #expect(try bench.engine.check(identifier, .presence).isGood)
        #expect(try bench.engine.check(identifier, .archive).findings.first?.error.code == .damaged)
        let report = try bench.engine.check(identifier, .raw)
        let damage = try #require(report.findings.first?.damage)
        #expect(damage.archiveRange.contains(UInt64(size / 2)))
        #expect(damage.rawRange.upperBound == UInt64(Self.byteCount))
        #expect(report.lostByteCount == UInt64(damage.rawRange.count) && report.lostByteCount > 1 << 20)
        #expect(damage.detail.contains("nothing behind it"))
        // Nothing wrong is written, and a salvage has zeros from there on.
        #expect(bench.code { _ = try bench.restore(identifier) } == .damaged)
        let path = bench.folder + "/salvaged.raw"
        let result = try bench.engine.restore(identifier, to: path, RestoreOptions(mode: .salvage))
        let found = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let good = Int(damage.rawRange.lowerBound)
        #expect(!result.isComplete && result.lostByteCount == UInt64(image.count - good))
        #expect(found.count == image.count && good > 0)
        #expect(found[..<good] == image[..<good])
        #expect(found[good...].allSatisfy { $0 == 0 })
        // Its header is in the catalog.
        try bench.tamper(Self.object) {
            $0[size / 2] ^= 1
            $0[30] ^= 1
        }
        let header = try bench.engine.check(identifier, .raw)
        #expect(header.lostByteCount == 0 && !header.isGood)
    }

    @Test(.timeLimit(.minutes(1)))
    func `another archive in its place is refused`() throws {
        let image = testImage(100_000, seed: 11)
        let (bench, identifier) = try bench(image)
        let recipient = try bench.engine.key(of: ResourceName("acme")).recipient
        let other = try Age.encrypt(packed(bench, testImage(100_000, seed: 12)), to: [recipient])
        try bench.tamper(Self.object) { $0 = other }
        #expect(bench.code { _ = try bench.restore(identifier) } == .swapped)
        #expect(try bench.engine.check(identifier, .raw).findings.contains { $0.error.code == .swapped })
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.backend)
        #expect(result.registered.isEmpty && result.refusedCount == 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a replica stands in for damaged chunks, and is found by a rebuild`() throws {
        let image = testImage(Self.byteCount, seed: 13)
        let (bench, identifier) = try bench(image)
        let other = try ResourceName("other")
        _ = try bench.engine.replicate(identifier, to: other)
        try bench.tamper(Self.object) {
            for place in stride(from: 70_000, to: $0.count, by: 200_000) { $0[place] ^= 1 }
        }
        let report = try bench.engine.check(identifier, .raw)
        #expect(!report.findings.isEmpty && report.lostByteCount == 0)
        #expect(report.findings.allSatisfy { $0.damage?.isHealed == true })
        #expect(try bench.restore(identifier) == image)
        try bench.reopen(forgetsCatalog: true)
        let copy = try bench.engine.rebuildCatalog(from: bench.engine.backend(other)).registered
        #expect(copy == [identifier.at(other)])
        #expect(try bench.restore(identifier.at(other)) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a damaged one is repaired from its replica, and lies at the place of its generation then`() throws {
        let image = testImage(Self.byteCount, seed: 21)
        let (bench, identifier) = try bench(image)
        let good = try #require(bench.memory.bytes(of: ObjectKey(Self.object)))
        let other = try ResourceName("other")
        _ = try bench.engine.replicate(identifier, to: other)
        try bench.tamper(Self.object) { $0[$0.count / 2] ^= 1 }
        let report = try bench.engine.check(identifier, .raw)
        #expect(!report.isGood)
        guard case .archive = try bench.engine.repair(report) else {
            Issue.record("not repaired")
            return
        }
        try bench.engine.remove(identifier.at(other))
        let place = try #require(try bench.engine.catalog.backup(identifier)).place
        #expect(place.archiveObject == nil)
        #expect(try bench.memory.bytes(of: ObjectKey(place.archiveKey)) == good)
        #expect(bench.memory.keys.map(\.string).sorted() == [place.archiveKey, place.manifestKey].sorted())
        #expect(try bench.engine.check(identifier, .raw).isGood)
        #expect(try bench.restore(identifier) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `wrapped anew for another key it is at the place of its generation, still without frames`() throws {
        let image = testImage(300_000, seed: 15)
        let (bench, identifier) = try bench(image)
        _ = try KeyDirectory(path: bench.keysPath).rotate(ResourceName("acme"), createdAt: "later")
        guard case .rewrapped = try bench.engine.rewrap(identifier) else {
            Issue.record("not rewrapped")
            return
        }
        let place = try #require(try bench.engine.catalog.backup(identifier)).place
        #expect(place.generation > 0 && place.archiveObject == nil)
        #expect(bench.memory.keys.map(\.string).sorted() == [place.archiveKey, place.manifestKey].sorted())
        #expect(try bench.engine.open(identifier).isForeign)
        #expect(try bench.engine.check(identifier, .raw).isGood)
        try bench.reopen(forgetsCatalog: true)
        #expect(try bench.engine.rebuildCatalog(from: bench.backend).registered == [identifier])
        #expect(try bench.restore(identifier) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a removal takes the object and the sidecar, also after a crash in the middle`() throws {
        let (bench, identifier) = try bench(testImage(5000, seed: 16))
        bench.store.failOperation(0, of: .delete, .forGood)
        #expect(throws: (any Error).self) { try bench.engine.remove(identifier) }
        bench.store.heal()
        try bench.orphanJournal()
        _ = try bench.engine.cleanUpAfterCrash()
        #expect(bench.memory.keys.isEmpty)
        #expect(try bench.engine.catalog.uploads().isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a crash in the middle of an import costs no object, and the next one goes through`() throws {
        let bench = try EngineBench()
        let image = testImage(5000, seed: 17)
        try put(bench, packed(bench, image))
        let place = BackupPlace(
            BackupIdentifier(
                backend: bench.backendName, org: try ResourceName("acme"), vm: try ResourceName("web"),
                date: try BackupDate(Self.date), disk: try ResourceName("disk")), generation: 0,
            archiveObject: Self.object)
        _ = try bench.engine.claimJournalEntry(for: place, on: bench.backend)
        try bench.orphanJournal()
        _ = try bench.engine.cleanUpAfterCrash()
        #expect(bench.memory.keys.map(\.string) == [Self.object])
        #expect(try bench.restore(importObject(bench).identifier) == image)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a restore cannot go on in the middle of it`() throws {
        let (bench, identifier) = try bench(testImage(5000, seed: 14))
        let path = bench.folder + "/out.raw"
        #expect(
            bench.code {
                _ = try bench.engine.restore(identifier, to: path, RestoreOptions(mode: .verifyFirst, resumes: true))
            } == .invalidName)
        _ = try bench.engine.restore(identifier, to: path, RestoreOptions(mode: .stream))
    }

    @Test(.timeLimit(.minutes(1)))
    func `its partitions are found while it goes by, also those of a chain`() throws {
        let bench = try EngineBench()
        let path = try bench.file("disk.raw", [UInt8](repeating: 0, count: 12 << 20))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        // Two primary ones, and three in an extended one, whose links lie far apart.
        process.arguments = [
            "-c",
            "printf 'start=2048,size=2048\\nstart=4096,size=2048\\nstart=6144,type=5\\nstart=8192,size=2048\\nstart=12288,size=2048\\nstart=18432,size=2048\\n' | timeout 20 /sbin/sfdisk -q '\(path)'",
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let image = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        try put(bench, packed(bench, image))
        let manifest = try importObject(bench)
        #expect(manifest.partitions.map(\.number) == [1, 2, 5, 6, 7])
        #expect(manifest.partitions.last?.rawOffset == 18432 * 512)
    }
}
