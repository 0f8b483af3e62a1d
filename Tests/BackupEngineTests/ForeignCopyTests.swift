import AgeFormat
import Archive
import BackupNames
internal import CryptoPrimitives
import Foundation
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Synchronization
import Testing
internal import Workers

@testable import BackupEngine

/// Random access to foreign archives, through local copies.
@Suite("Local copies of foreign archives")
struct ForeignCopyTests {
    private static let byteCount = 2 << 20 + 777

    private func importImage(_ bench: EngineBench, _ image: [UInt8], _ name: String) throws -> BackupIdentifier {
        let path = try bench.file("packed.raw", image)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["50", "zstd", "-q", "-f", "-1", path, "-o", path + ".zst"]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let stream = Array(try Data(contentsOf: URL(fileURLWithPath: path + ".zst")))
        let archive = try Age.encrypt(stream, to: [bench.engine.key(of: ResourceName("acme")).recipient])
        _ = try archive.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey(name), $0) }
        bench.clock.advance(60)
        return try bench.engine.importArchive(
            name, as: bench.disk(), of: BackupDate(secondsSince1970: bench.clock.secondsSince1970), at: bench.backend
        ).manifest.identifier
    }

    private func folder(_ bench: EngineBench) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: bench.folder + "/foreign")) ?? []).filter {
            $0 != "lock"
        }
        .sorted()
    }

    private func read(_ backup: OpenBackup, _ range: Range<Int>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        let reader = RawReader(reader: try backup.reader)
        try bytes.withUnsafeMutableBytes { try reader.read(at: UInt64(range.lowerBound), into: $0) }
        return bytes
    }

    @Test(.timeLimit(.minutes(1)))
    func `a copy is made once, read at random, and found again`() throws {
        let bench = try EngineBench()
        let image = testImage(Self.byteCount, seed: 21)
        let identifier = try importImage(bench, image, "a.age")
        #expect(bench.code { _ = try bench.engine.open(identifier).reader } == .notFound)
        let backups = Mutex<[OpenBackup]>([])
        let engine = bench.engine
        forEachInParallel(Array(0..<4), threadCount: 4) { _ in
            if let backup = try? engine.openAtRandom(identifier) { backups.withLock { $0.append(backup) } }
        }
        #expect(backups.withLock { $0.count } == 4)
        let names = folder(bench)
        #expect(names.count == 2 && names.allSatisfy { !$0.hasPrefix(".") })
        for backup in backups.withLock({ $0 }) {
            for start in [0, 65535, 1 << 20, Self.byteCount - 5000] {
                #expect(try read(backup, start..<start + 5000) == Array(image[start..<start + 5000]))
            }
        }
        // Only its owner may look at it, and nothing of the image is in it.
        for name in names {
            let path = bench.folder + "/foreign/" + name
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            #expect(
                Array(try Data(contentsOf: URL(fileURLWithPath: path)).prefix(22))
                    == Array("age-encryption.org/v1\n".utf8))
        }
        backups.withLock { $0 = [] }
        try bench.reopen()
        bench.store.failOperation(0, .forGood)
        #expect(try read(bench.engine.openAtRandom(identifier), 0..<5000) == Array(image[..<5000]))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a copy that was changed or cut is made anew`() throws {
        let bench = try EngineBench()
        let image = testImage(Self.byteCount, seed: 22)
        let identifier = try importImage(bench, image, "a.age")
        _ = try bench.engine.openAtRandom(identifier)
        let archive = bench.folder + "/foreign/" + (try #require(folder(bench).first { $0.hasSuffix(".raw.zst.age") }))
        let manifest = archive.replacingOccurrences(of: ".raw.zst.age", with: ".manifest.age")
        let changes: [(inout Data) -> Void] = [{ $0.removeLast() }, { $0[40] ^= 1 }, { $0[$0.count - 1] ^= 1 }]
        for (path, change) in [archive, manifest].flatMap({ path in changes.map { (path, $0) } }) {
            var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            change(&bytes)
            try bytes.write(to: URL(fileURLWithPath: path))
            #expect(try read(bench.engine.openAtRandom(identifier), 0..<100) == Array(image[..<100]))
        }
        // A whole copy of another backup under its name.
        let other = try importImage(bench, testImage(Self.byteCount, seed: 23), "b.age")
        _ = try bench.engine.openAtRandom(other)
        let foreign = try #require(
            folder(bench).first { $0.hasSuffix(".raw.zst.age") && !archive.hasSuffix($0) })
        for ending in [".raw.zst.age", ".manifest.age"] {
            let source = bench.folder + "/foreign/" + foreign.replacingOccurrences(of: ".raw.zst.age", with: ending)
            let target = archive.replacingOccurrences(of: ".raw.zst.age", with: ending)
            try FileManager.default.removeItem(atPath: target)
            try FileManager.default.copyItem(atPath: source, toPath: target)
        }
        #expect(try read(bench.engine.openAtRandom(identifier), 0..<100) == Array(image[..<100]))
        // A frame that rots later is not served, and the copy goes.
        let backup = try bench.engine.openAtRandom(identifier)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: archive))
        bytes[bytes.count / 3] ^= 1
        let file = try #require(FileHandle(forUpdatingAtPath: archive))
        try file.write(contentsOf: bytes)
        try file.close()
        #expect(bench.code { _ = try read(backup, 0..<Self.byteCount) } == .damaged)
        let run = try backup.reader.layout.run(ofFrames: 0..<1)
        #expect(try backup.reader.discard(run, attempt: 0) == nil)
        #expect(!FileManager.default.fileExists(atPath: archive))
    }

    @Test(.timeLimit(.minutes(1)))
    func `the folder keeps its cap, and what was used last`() throws {
        // Noise, so that a copy is as large as its image.
        var generator = SystemRandomNumberGenerator()
        let images = (0..<3).map { _ in (0..<1 << 20).map { _ in UInt8.random(in: 0...255, using: &generator) } }
        let bench = try EngineBench()
        try bench.reopen(foreignCopyByteCount: 5 << 19)
        let identifiers = try images.enumerated().map { try importImage(bench, $1, "\($0).age") }
        _ = try bench.engine.openAtRandom(identifiers[0])
        usleep(20_000)
        _ = try bench.engine.openAtRandom(identifiers[1])
        usleep(20_000)
        // Used again: the second is the oldest now.
        _ = try bench.engine.openAtRandom(identifiers[0])
        usleep(20_000)
        let third = try bench.engine.openAtRandom(identifiers[2])
        let digests = try [0, 2].map { try bench.engine.open(identifiers[$0]).manifest.archiveSHA256.hexadecimal }
        #expect(folder(bench).filter { $0.hasSuffix(".raw.zst.age") } == digests.sorted().map { $0 + ".raw.zst.age" })
        // Those that are being read stay.
        let first = try bench.engine.openAtRandom(identifiers[0])
        #expect(bench.code { _ = try bench.engine.openAtRandom(identifiers[1]) } == .noRoom)
        #expect(try read(third, 0..<100) == Array(images[2][..<100]))
        #expect(try read(first, 0..<100) == Array(images[0][..<100]))
        try bench.reopen(foreignCopyByteCount: 1 << 19)
        #expect(bench.code { _ = try bench.engine.openAtRandom(identifiers[1]) } == .noRoom)
        #expect(folder(bench).allSatisfy { !$0.hasPrefix(".") })
    }

    @Test(.timeLimit(.minutes(1)))
    func `whoever is interrupted stops waiting, and a copy for nobody is given up`() throws {
        let bench = try EngineBench()
        let image = testImage(Self.byteCount, seed: 24)
        let identifier = try importImage(bench, image, "a.age")
        let folder = try #require(bench.engine.foreignCopies?.folder)
        do {
            // Another process makes one: this waits for its lock.
            let lock = try folder.tryLock()
            let isLocked = lock != nil
            #expect(isLocked)
            #expect(bench.code { _ = try bench.engine.openAtRandom(identifier, unless: { true }) } == .cancelled)
            _ = consume lock
        }
        #expect(try read(bench.engine.openAtRandom(identifier), 0..<100) == Array(image[..<100]))
        bench.engine.giveUpLocalCopies()
        // What is there can still be opened.
        _ = try bench.engine.openAtRandom(identifier)
    }

    @Test(.timeLimit(.minutes(1)))
    func `what a crash left goes at the next start`() throws {
        let bench = try EngineBench()
        let identifier = try importImage(bench, testImage(1000, seed: 25), "a.age")
        _ = try bench.engine.openAtRandom(identifier)
        let kept = folder(bench)
        let digest = String(repeating: "ab", count: 32)
        for name in [".\(digest).tmp", "\(digest).manifest.age", ".\(digest).manifest.age.77.tmp"] {
            try Data([1]).write(to: URL(fileURLWithPath: bench.folder + "/foreign/" + name))
        }
        try bench.reopen()
        _ = try bench.engine.cleanUpAfterCrash()
        #expect(folder(bench) == kept)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a damaged archive gives no copy`() throws {
        let bench = try EngineBench()
        let identifier = try importImage(bench, testImage(Self.byteCount, seed: 26), "a.age")
        try bench.tamper("a.age") { $0[$0.count - 100] ^= 1 }
        #expect(bench.code { _ = try bench.engine.openAtRandom(identifier) } == .damaged)
        #expect(folder(bench).isEmpty)
    }
}
