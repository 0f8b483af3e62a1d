import AgeFormat
import Archive
import BackupEngine
import BackupNames
import Catalog
import CryptoPrimitives
import Foundation
import Logging
import OrgKeys
import Storage
import StorageTesting
import Testing

/// Somebody who can write the bucket, and has our public key, but no secret of ours. Each change against every way to read: none
/// may give wrong bytes.
@Suite("A backend that somebody else writes to", .timeLimit(.minutes(3)))
struct TamperedBackendTests {
    private enum Way: String, CaseIterable { case presence, archive, raw, restore, read, rebuild, refresh }

    private let bench: EngineBench
    private let image = testImage(700_000, seed: 41)
    private let identifier: BackupIdentifier
    private let older: BackupIdentifier

    init() throws {
        bench = try EngineBench()
        older = try bench.backUp(testImage(700_000, seed: 40))
        identifier = try bench.backUp(image)
    }

    private func object(_ key: String) throws -> [UInt8] { try #require(bench.memory.bytes(of: ObjectKey(key))) }

    /// What each way of looking at the backup comes to: nil where it found nothing wrong, and then it gave the right bytes.
    private func outcomes() throws -> [Way: EngineError.Code] {
        var codes: [Way: EngineError.Code] = [:]
        for (way, depth) in [(Way.presence, CheckDepth.presence), (.archive, .archive), (.raw, .raw)] {
            codes[way] = try bench.engine.check(identifier, depth).findings.first?.error.code
        }
        codes[.restore] = bench.code {
            let restored = try bench.restore(identifier)
            #expect(restored == image)
        }
        codes[.read] = bench.code {
            let reader = RawReader(reader: try bench.engine.open(identifier).reader)
            var bytes = [UInt8](repeating: 0, count: image.count)
            try bytes.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
            #expect(bytes == image)
        }
        // A bare machine.
        let other = try EngineBench(sharing: bench)
        let rebuilt = try other.engine.rebuildCatalog(from: other.engine.backend(bench.backendName))
        codes[.rebuild] = rebuilt.refused.first { $0.name.hasPrefix(prefix) }?.error.code
        for found in rebuilt.registered where found == identifier {
            codes[.rebuild] = other.code {
                let restored = try other.restore(found)
                #expect(restored == image)
            }
        }
        // Another host that looks what is new, as a mount does.
        let third = try EngineBench(sharing: bench)
        let refreshed = try CatalogRefresh(third.engine, third.backend).run()
        codes[.refresh] = refreshed.refused.first { $0.name.hasPrefix(prefix) }?.error.code
        for found in refreshed.registered where found == identifier {
            codes[.refresh] = third.code {
                let restored = try third.restore(found)
                #expect(restored == image)
            }
        }
        // It looks for sidecars only: an archive without one is nothing new.
        #expect(codes[.refresh] == (codes[.rebuild] == .sidecarMissing ? nil : codes[.rebuild]))
        return codes
    }

    /// `org/vm/date/`.
    private var prefix: String { String(identifier.archiveKey.dropLast("disk.raw.zst.age".count)) }

    /// A host that has no more than our recipient, and what it puts under the same names.
    private func forge() throws -> (archive: [UInt8], sidecar: [UInt8]) {
        let stranger = try EngineBench(orgs: [])
        let recipient = try bench.engine.key(of: ResourceName("acme")).recipient
        let file = "recipient: \(recipient)\nseal-key: \(String(repeating: "5a", count: 32))\n"
        _ = try Array(file.utf8).withUnsafeBytes {
            try KeyDirectory(path: stranger.folder + "/keys").importKey(ResourceName("acme"), $0)
        }
        let forged = try stranger.backUp(testImage(700_000, seed: 666))
        return (
            try #require(stranger.memory.bytes(of: ObjectKey(forged.archiveKey))),
            try #require(stranger.memory.bytes(of: ObjectKey(forged.manifestKey)))
        )
    }

    @Test func `two archives that were swapped`() throws {
        let (mine, others) = (try object(identifier.archiveKey), try object(older.archiveKey))
        try bench.tamper(identifier.archiveKey) { $0 = others }
        try bench.tamper(older.archiveKey) { $0 = mine }
        let codes = try outcomes()
        for way in [Way.raw, .restore, .read, .rebuild] {
            #expect([.swapped, .truncated, .damaged].contains(codes[way]), "\(way): \(String(describing: codes[way]))")
        }
        #expect([.truncated, .damaged].contains(codes[.archive]))
    }

    @Test func `an older archive with its sidecar, put back under a newer name`() throws {
        let (archive, sidecar) = (try object(older.archiveKey), try object(older.manifestKey))
        try bench.tamper(identifier.archiveKey) { $0 = archive }
        try bench.tamper(identifier.manifestKey) { $0 = sidecar }
        let codes = try outcomes()
        #expect(codes[.rebuild] == .swapped, "the sidecar says whose it is")
        for way in Way.allCases { #expect(codes[way] != nil, "\(way)") }
    }

    @Test func `an archive that was made for our public key`() throws {
        let (archive, sidecar) = try forge()
        try bench.tamper(identifier.archiveKey) { $0 = archive }
        var codes = try outcomes()
        for way in Way.allCases where way != .presence { #expect(codes[way] != nil, "\(way)") }
        // With the sidecar that belongs to it.
        try bench.tamper(identifier.manifestKey) { $0 = sidecar }
        codes = try outcomes()
        for way in Way.allCases { #expect(codes[way] != nil, "\(way)") }
        #expect(codes[.rebuild] == .notAuthentic)
    }

    @Test func `a sidecar that was edited, removed or replayed`() throws {
        let good = try object(identifier.manifestKey)
        let others = try object(older.manifestKey)
        try bench.tamper(identifier.manifestKey) { $0[good.count - 30] ^= 1 }
        var codes = try outcomes()
        #expect(codes[.presence] == .notAuthentic && codes[.rebuild] != nil)
        #expect(codes[.restore] == nil, "the catalog is the reference")
        try bench.tamper(identifier.manifestKey) { $0 = others }
        codes = try outcomes()
        #expect(codes[.presence] == .swapped && codes[.rebuild] == .swapped && codes[.restore] == nil)
        try bench.memory.delete(ObjectKey(identifier.manifestKey))
        codes = try outcomes()
        #expect(codes[.presence] == .sidecarMissing && codes[.rebuild] == .sidecarMissing && codes[.restore] == nil)
    }

    @Test func `an archive that was cut at a chunk's end, or extended`() throws {
        let good = try object(identifier.archiveKey)
        let layout = try bench.engine.open(identifier).reader.layout.payload
        let cuts = (0..<layout.chunkCount).map { Int(layout.archiveRange(ofChunk: $0).lowerBound) }
        let longer: [[UInt8]] = [good + [0], good + good.suffix(65_552), good + good]
        let changes: [[UInt8]] = cuts.map { Array(good.prefix($0)) } + longer
        for changed in changes {
            try bench.tamper(identifier.archiveKey) { $0 = changed }
            let codes = try outcomes()
            for way in Way.allCases where way != .read {
                #expect(codes[way] != nil, "\(way), \(changed.count) of \(good.count) bytes")
            }
            // A random read needs its own bytes only; they are right, or it fails.
            if changed.count < good.count { #expect(codes[.read] != nil) }
        }
    }

    @Test func `an authentic backup that comes back after it was removed is taken for what it is`() throws {
        let (archive, sidecar) = (try object(older.archiveKey), try object(older.manifestKey))
        try bench.engine.remove(older)
        for (key, bytes) in [(older.archiveKey, archive), (older.manifestKey, sidecar)] {
            _ = try bytes.withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey(key), $0) }
        }
        let result = try bench.engine.rebuildCatalog(from: bench.engine.backend(bench.backendName))
        #expect(result.registered == [older])
        #expect(try bench.engine.check(older, .raw).isGood)
    }

    // MARK: Objects that are made to hurt

    /// Hands out a file that begins with `head` and goes on for ever with one byte; counts what is asked of it.
    private final class EndlessSource: ArchiveSource, @unchecked Sendable {
        // Safe because: one thread reads it.
        let head: [UInt8]
        let byteCount: UInt64
        private(set) var readByteCount = 0

        init(_ head: [UInt8], byteCount: UInt64) {
            self.head = head
            self.byteCount = byteCount
        }

        func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
            readByteCount += buffer.count
            for index in buffer.indices {
                let offset = Int(archiveOffset) + index
                buffer[index] = offset < head.count ? head[offset] : offset % 65 == 64 ? 0x0a : 0x41
            }
        }
    }

    @Test func `a header of four gibibytes is refused after a bounded look`() throws {
        let identity = AgeIdentity.generate()
        for head in [
            "age-encryption.org/v1\n-> X25519 ", "age-encryption.org/v1\n-> grease\n", "age-encryption.org/v1\n",
        ] {
            let source = EndlessSource(Array(head.utf8), byteCount: 4 << 30)
            #expect(throws: ArchiveError.self) { try ArchiveReader.open(source: source, identities: [identity]) }
            #expect(source.readByteCount < 1 << 20, "\(head): \(source.readByteCount)")
        }
    }

    /// An archive for a key whose plaintext is ours to choose.
    private func archive(_ stream: [UInt8], for identity: AgeIdentity) throws -> [UInt8] {
        var output: [UInt8] = []
        var encryptor = try AgeEncryptor(recipients: [identity.recipient])
        try stream.withUnsafeBytes { try encryptor.update($0) { output += $0 } }
        try encryptor.finish { output += $0 }
        return output
    }

    private struct BytesSource: ArchiveSource {
        let bytes: [UInt8]
        var byteCount: UInt64 { UInt64(bytes.count) }

        func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
            guard archiveOffset + UInt64(buffer.count) <= byteCount else {
                throw StorageError(.rangeNotSatisfiable, "bytes", "beyond the end")
            }
            let start = Int(archiveOffset)
            buffer.copyBytes(from: bytes[start..<start + buffer.count])
        }
    }

    /// A skippable frame of a seek table with entries of our choice: compressed size, raw size, checksum.
    private func seekTable(_ entries: [(UInt32, UInt32)], claimed: UInt32? = nil) -> [UInt8] {
        func little(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
        let body = entries.flatMap { little($0.0) + little($0.1) + little(0) }
        let footer = little(claimed ?? UInt32(entries.count)) + [0x80] + little(0x8F92_EAB1)
        return little(0x184D_2A5E) + little(UInt32(body.count + footer.count)) + body + footer
    }

    @Test func `seek tables that lie are refused before memory is taken`() throws {
        let identity = AgeIdentity.generate()
        let frame = [UInt8](repeating: 7, count: 1000)
        let huge = [(UInt32, UInt32)](repeating: (.max, .max), count: 5000)
        let lies: [(String, [UInt8])] = [
            ("a count that cannot be", frame + seekTable([(1000, 1000)], claimed: .max)),
            ("a count beyond the table", frame + seekTable([(1000, 1000)], claimed: 2)),
            ("frames that are larger than the stream", frame + seekTable([(.max, 1000)])),
            ("a frame of four gibibytes", frame + seekTable([(1000, .max)])),
            ("frames that do not add up", frame + seekTable([(999, 1000)])),
            ("sums that overflow", frame + seekTable(huge)),
            ("no footer", frame), ("nothing", []),
            ("a table in place of the frames", seekTable([])),
        ]
        for (what, stream) in lies {
            let source = BytesSource(bytes: try archive(stream, for: identity))
            #expect(throws: ArchiveError.self, "\(what)") {
                let reader = try ArchiveReader.open(source: source, identities: [identity])
                // A table that says nothing wrong of itself: then its frames must be what it says.
                var byte: [UInt8] = [0]
                try byte.withUnsafeMutableBytes { try RawReader(reader: reader).read(at: 0, into: $0) }
            }
        }
    }

    @Test func `a frame that holds more than it says, or says more than there may be, fills no memory`() throws {
        let identity = AgeIdentity.generate()
        // 64 MiB of zeros in a few kilobytes, which the table lists as a frame of 1,000 bytes; and the other way round.
        let path = bench.folder + "/zeros"
        try Data(count: 64 << 20).write(to: URL(fileURLWithPath: path))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/zstd")
        process.arguments = ["-q", "-19", "--check", path, "-o", path + ".zst"]
        try process.run()
        process.waitUntilExit()
        let bomb: [UInt8] = Array(try Data(contentsOf: URL(fileURLWithPath: path + ".zst")))
        #expect(bomb.count < 16_384)
        let sizes: [UInt32] = [1000, (64 << 20) - 1, 65 << 20, 1 << 30]
        for raw in sizes {
            let entry: (UInt32, UInt32) = (UInt32(bomb.count), raw)
            let stream = bomb + seekTable([entry])
            let source = BytesSource(bytes: try archive(stream, for: identity))
            #expect(throws: ArchiveError.self, "\(raw)") {
                let reader = try ArchiveReader.open(source: source, identities: [identity])
                var byte: [UInt8] = [0]
                try byte.withUnsafeMutableBytes { try RawReader(reader: reader).read(at: 0, into: $0) }
            }
        }
    }

    @Test func `names that are no names of ours hide nothing`() throws {
        let odd = [
            "acme/web/2026-11-20T02-00-00Z/extra/disk.manifest.age", "acme/web/yesterday/disk.manifest.age",
            "acme/ web/2026-11-20T02-00-00Z/disk.manifest.age", "x.manifest.age", "acme/web/disk.manifest.age",
            ".hidden/web/2026-11-20T02-00-00Z/disk.manifest.age", "latest/web/2026-11-20T02-00-00Z/disk.manifest.age",
            "acme/web/2026-11-20T02-00-00Z/.manifest.age",
            String(repeating: "a", count: 201) + "/web/2026-11-20T02-00-00Z/disk.manifest.age",
        ]
        for name in odd { _ = try [1 as UInt8].withUnsafeBytes { try bench.memory.putIfAbsent(ObjectKey(name), $0) } }
        for bad in ["a/../b", "../x", "a\nb", "a//b", "a/\u{0}", String(repeating: "a/", count: 2500) + "b"] {
            #expect(throws: StorageError.self, "\(bad.prefix(20))") { try ObjectKey(bad) }
        }
        let other = try EngineBench(sharing: bench)
        let result = try other.engine.rebuildCatalog(from: other.engine.backend(bench.backendName))
        #expect(Set(result.registered) == [identifier, older])
        #expect(try other.restore(identifier) == image)
    }
}
