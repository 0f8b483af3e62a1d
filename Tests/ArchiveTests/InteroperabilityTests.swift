import AgeFormat
import Archive
import CryptoPrimitives
import Foundation
import SeekableZstd
import Testing
import Workers

/// With the real programs: what holdfast writes must open without holdfast.
@Suite("Interoperability with age and zstd")
struct InteroperabilityTests {
    private func identityFile(_ identity: AgeIdentity, in folder: TemporaryFolder) throws -> String {
        let text = AgeIdentityFile.serialize(identity, createdAt: "2026-11-22T00:00:00Z").withUnsafeBytes(Array.init)
        return try folder.file("org.key", text)
    }

    @Test(.timeLimit(.minutes(2)), arguments: [64 << 10, 1 << 20])
    func `age and zstd decode our archive to the raw image, and zstd lists its frames`(frame: Int) throws {
        let folder = try TemporaryFolder()
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench(frameByteCount: frame)
        var raw = TestImage.make(byteCount: 5 << 20, seed: 7)
        raw += [UInt8](repeating: 0, count: 9 << 20) + TestImage.make(byteCount: 12345, seed: 8)
        let (archive, facts) = try bench.write(raw, pool: pool, bufferByteCount: 24 << 20)
        let path = try folder.file("disk.raw.zst.age", archive.content)
        let key = try identityFile(bench.identity, in: folder)
        #expect(try shell("age -d -i '\(key)' '\(path)' | zstd -d") == raw)
        _ = try shell("age -d -i '\(key)' '\(path)' > '\(folder.path)/disk.raw.zst'")
        let listing = String(decoding: try shell("zstd -lv '\(folder.path)/disk.raw.zst'"), as: UTF8.self)
        #expect(listing.contains("Zstandard Frames: \(facts.access.seekTable.frameCount)"), "\(listing)")
        #expect(listing.contains("Skippable Frames: 1"), "\(listing)")
        #expect(listing.contains("Check: XXH64") || listing.contains("XXH64"), "\(listing)")
    }

    @Test(.timeLimit(.minutes(2)))
    func `an archive that age encrypted over our zstd stream opens in our reader`() throws {
        let folder = try TemporaryFolder()
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench()
        let raw = TestImage.make(byteCount: 2_000_003, seed: 9)
        let (archive, _) = try bench.write(raw, pool: pool)
        let path = try folder.file("ours.age", archive.content)
        let key = try identityFile(bench.identity, in: folder)
        let other = try shell("age-keygen 2>/dev/null | tee '\(folder.path)/other.key' | age-keygen -y")
        let second = String(decoding: other, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        let recipients = "-r \(bench.identity.recipient) -r \(second)"
        let theirs = try shell("age -d -i '\(key)' '\(path)' | age \(recipients)")
        #expect(theirs != archive.content)
        let otherKey = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/other.key"))
        let others = try Array(otherKey).withUnsafeBytes { try AgeIdentityFile.parse($0) }
        for identities in [[bench.identity], others] {
            let reader = try ArchiveReader.open(source: MemoryArchive(theirs), identities: identities)
            #expect(try bench.read(reader) == raw)
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [0, 1, 65535, 65536, 65537, 200_000])
    func `small documents go both ways`(byteCount: Int) throws {
        let folder = try TemporaryFolder()
        let identity = AgeIdentity.generate()
        let key = try identityFile(identity, in: folder)
        let plaintext = TestImage.make(byteCount: byteCount, seed: 10)
        let ours = try folder.file("ours", try Age.encrypt(plaintext, to: [identity.recipient]))
        #expect(try shell("age -d -i '\(key)' '\(ours)'") == plaintext)
        let plain = try folder.file("plain", plaintext)
        let theirs = try shell("age -r \(identity.recipient) '\(plain)'")
        #expect(try Age.decrypt(theirs, identities: [identity], maximumByteCount: 1 << 20) == plaintext)
    }

    @Test(.timeLimit(.minutes(2)))
    func `zstd decodes every zero frame`() throws {
        let folder = try TemporaryFolder()
        for power in [16, 17, 20, 24, 28] {
            let path = try folder.file("zeros.zst", ZeroFrame.bytes(rawByteCount: 1 << power))
            let count = try shell("zstd -dc '\(path)' | tr -d '\\0' | wc -c; zstd -dc '\(path)' | wc -c")
            #expect(String(decoding: count, as: UTF8.self) == "0\n\(1 << power)\n")
        }
    }
}
