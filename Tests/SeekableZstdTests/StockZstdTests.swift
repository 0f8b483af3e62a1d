import Foundation
import Testing

@testable import SeekableZstd

/// The real `zstd` program opens what we write, and we open what it writes.
@Suite("Stock zstd")
struct StockZstdTests {
    /// A stream of data frames, zero frames and the seek table.
    private func stream(rawByteCount: Int, frameByteCount: Int, hole: Int?) throws -> (bytes: [UInt8], raw: [UInt8]) {
        var stream: [UInt8] = []
        var table = SeekTable()
        var raw = text(rawByteCount)
        for start in stride(from: 0, to: rawByteCount, by: frameByteCount) {
            let (frame, entry) = try compress(Array(raw[start..<min(start + frameByteCount, rawByteCount)]))
            stream += frame
            table.append(entry)
        }
        if let hole {
            stream += ZeroFrame.bytes(rawByteCount: hole)
            table.append(ZeroFrame.entry(rawByteCount: hole))
            raw += [UInt8](repeating: 0, count: hole)
        }
        stream += table.serialized()
        #expect(UInt64(stream.count) == table.streamByteCount)
        return (stream, raw)
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [0, 1, 65535, 65536, 65537, 131_072, 200_001], [nil, 64 << 10, 1 << 20] as [Int?])
    func `zstd -d gives the raw bytes`(rawByteCount: Int, hole: Int?) throws {
        let (bytes, raw) = try stream(rawByteCount: rawByteCount, frameByteCount: 65536, hole: hole)
        let result = try Workbench(bytes).run("zstd -dc stream.zst")
        #expect(result.status == 0)
        #expect(result.output == raw)
    }

    @Test(.timeLimit(.minutes(1)))
    func `zstd -l lists the frames and their sizes`() throws {
        let (bytes, raw) = try stream(rawByteCount: 200_001, frameByteCount: 65536, hole: 1 << 20)
        let result = try Workbench(bytes).run("zstd -lv stream.zst")
        let output = String(decoding: result.output, as: UTF8.self)
        #expect(result.status == 0)
        #expect(output.contains("# Zstandard Frames: 5"), "\(output)")
        #expect(output.contains("# Skippable Frames: 1"), "\(output)")
        #expect(output.contains("(\(raw.count) B)"), "\(output)")
        #expect(output.contains("Check: XXH64"), "\(output)")
    }

    @Test(.timeLimit(.minutes(1)), arguments: Array(16...30))
    func `zstd -d and zstd -l take a zero frame of any size`(power: Int) throws {
        let size = 1 << power
        let bench = try Workbench(ZeroFrame.bytes(rawByteCount: size))
        let list = try bench.run("zstd -lv stream.zst")
        let output = String(decoding: list.output, as: UTF8.self)
        #expect(list.status == 0)
        #expect(output.contains("(\(size) B)"), "\(output)")
        #expect(output.contains("Window Size: 2.00 MiB"), "\(output)")
        // cmp reads to the end of both: equal length and equal bytes.
        let result = try bench.run("zstd -dc stream.zst | cmp - <(head -c \(size) /dev/zero)")
        #expect(result.status == 0, "\(String(decoding: result.output, as: UTF8.self))")
    }

    @Test(.timeLimit(.minutes(1)))
    func `zstd refuses a zero frame with another checksum`() throws {
        var bytes = ZeroFrame.bytes(rawByteCount: 1 << 20)
        bytes[bytes.count - 1] ^= 1
        #expect(try Workbench(bytes).run("zstd -dc stream.zst > /dev/null").status != 0)
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["-1", "-3", "-19", "--fast=3"])
    func `a frame of the stock program is taken`(level: String) throws {
        let raw = text(100_000)
        let bench = try Workbench(raw)
        let result = try bench.run("zstd -q \(level) --check -c stream.zst")
        #expect(result.status == 0)
        let frame = result.output
        let checksum = frame.suffix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let entry = SeekTable.Entry(
            compressedByteCount: UInt32(frame.count), rawByteCount: UInt32(raw.count), checksum: checksum)
        #expect(try decompress(frame, entry) == raw)
        let own = try compress(raw)
        #expect(own.entry.checksum == checksum)
    }
}
