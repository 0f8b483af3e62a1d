import AgeFormat
import Archive
import CryptoPrimitives
import Foundation
import SeekableZstd
import Testing

@Suite("Sample archives of released versions", .timeLimit(.minutes(1)))
struct SampleArchiveTests {
    private static let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("SampleArchives")

    private static func versions() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: samples.path).filter { $0.hasPrefix("v") }.sorted()
    }

    @Test func `the archive of every released version opens, and its raw bytes have their hash`() throws {
        #expect(try Self.versions().contains("v1"))
        for version in try Self.versions() {
            let folder = Self.samples.appendingPathComponent(version)
            let key = try Data(contentsOf: folder.appendingPathComponent("sample.agekey"))
            let identities = try key.withUnsafeBytes { try AgeIdentityFile.parse($0) }
            let archive = MemoryArchive(Array(try Data(contentsOf: folder.appendingPathComponent("disk.raw.zst.age"))))
            let reader = try ArchiveReader.open(source: archive, identities: identities)
            let raw = try ArchiveBench(identity: identities[0]).read(reader)
            let expected = try String(contentsOf: folder.appendingPathComponent("disk.raw.sha256"), encoding: .utf8)
            #expect(SHA256Hasher.digest(of: raw).hexadecimal == expected.prefix(64), "\(version)")
        }
    }

    @Test func `the format page's example is the sample`() throws {
        let folder = Self.samples.appendingPathComponent("v1")
        let bytes = Array(try Data(contentsOf: folder.appendingPathComponent("disk.raw.zst.age")))
        let key = try Data(contentsOf: folder.appendingPathComponent("sample.agekey"))
        let identities = try key.withUnsafeBytes { try AgeIdentityFile.parse($0) }
        let reader = try ArchiveReader.open(source: MemoryArchive(bytes), identities: identities)
        let page = try String(
            contentsOf: Self.samples.deletingLastPathComponent().deletingLastPathComponent()
                .appendingPathComponent("Sources/Archive/Archive.docc/ArchiveFormat.md"), encoding: .utf8)
        let start = try #require(page.range(of: "### Worked example")).upperBound
        let text = page[start...]
        #expect(text.contains("**\(bytes.count)**"))
        #expect(text.contains("| 168 | 16 | payload nonce |"))
        for index in 0..<reader.seekTable.frameCount {
            let (stream, raw) = (
                reader.seekTable.streamRange(ofFrame: index), reader.seekTable.rawRange(ofFrame: index)
            )
            let kind = reader.seekTable.isZeroFrame(index) ? "zero" : "data"
            let row =
                "| \(stream.lowerBound) | \(stream.count) | frame \(index), \(kind) | \(raw.lowerBound) | \(raw.count) |"
            #expect(text.contains(row), "\(row)")
        }
        let table = reader.layout.seekTableRun.streamRange
        #expect(text.contains("| \(table.lowerBound) | \(table.count) | seek table |"))
    }
}
