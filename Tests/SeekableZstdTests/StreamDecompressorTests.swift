import Foundation
import Testing

@testable import SeekableZstd

/// What the real `zstd` writes, in any way it knows, read from front to back.
@Suite("Streams of stock zstd")
struct StreamDecompressorTests {
    /// Decodes with pieces of given sizes, both of the stream and of what comes out.
    private func decode(_ stream: [UInt8], taking step: Int = 65536, giving room: Int = 65536) throws -> [UInt8] {
        var decompressor = StreamDecompressor()
        var raw: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: room)
        var position = 0
        while true {
            let piece = stream[position..<min(position + step, stream.count)]
            let (taken, given) = try Array(piece).withUnsafeBytes { input in
                try buffer.withUnsafeMutableBytes { try decompressor.decompress(input, into: $0) }
            }
            raw += buffer[..<given]
            position += taken
            if position == stream.count, given < room { break }
        }
        #expect(UInt64(position) == decompressor.streamOffset)
        try decompressor.finish()
        return raw
    }

    private func failure(_ stream: [UInt8]) -> SeekableZstdError? {
        do {
            _ = try decode(stream)
            return nil
        } catch {
            return error as? SeekableZstdError
        }
    }

    private func packed(_ raw: [UInt8], _ command: String) throws -> [UInt8] {
        let result = try Workbench(raw).run(command)
        #expect(result.status == 0, "\(String(decoding: result.output, as: UTF8.self))")
        return result.output
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            "zstd -1", "zstd -3", "zstd -19", "zstd -3 --long", "zstd -3 --long=24", "zstd -3 --no-check",
            "zstd --fast=5",
            "zstd -3 -T2 -B300K",
        ], ["-c stream.zst", "-c < stream.zst"])
    func `every level and window gives the raw bytes`(command: String, source: String) throws {
        // The second form has no content size: the length of a pipe is not known.
        for count in [0, 1, 70_000, 600_003] {
            let raw = text(count)
            let stream = try packed(raw, "\(command) \(source)")
            #expect(try decode(stream) == raw)
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: [1, 2, 3, 5, 17, 4096], [1, 7, 128 << 10])
    func `pieces of any size give the same`(step: Int, room: Int) throws {
        let raw = text(4000) + [UInt8](repeating: 0, count: 8000)
        let stream = try packed(
            raw,
            "head -c 3000 stream.zst | zstd -c; printf 'P*M\\030\\003\\0\\0\\0abc'; tail -c +3001 stream.zst | zstd -c")
        #expect(try decode(stream, taking: step, giving: room) == raw)
    }

    @Test(.timeLimit(.minutes(1)))
    func `several frames follow each other, empty and skippable ones between them`() throws {
        let raw = text(100_000)
        let stream = try packed(
            raw,
            "printf 'P*M\\030\\0\\0\\0\\0'; head -c 50000 stream.zst | zstd -c; zstd -c < /dev/null; "
                + "printf '_*M\\030\\004\\0\\0\\0abcd'; tail -c +50001 stream.zst | zstd -c")
        #expect(try decode(stream) == raw)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a stream of ours reads like any other`() throws {
        let raw = text(65536)
        let (frame, entry) = try compress(raw)
        var table = SeekTable()
        table.append(entry)
        table.append(ZeroFrame.entry(rawByteCount: 1 << 20))
        let stream = frame + ZeroFrame.bytes(rawByteCount: 1 << 20) + table.serialized()
        #expect(try decode(stream) == raw + [UInt8](repeating: 0, count: 1 << 20))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a stream that is cut anywhere is told so at its end`() throws {
        let stream = try packed(text(5000), "zstd -c stream.zst; printf 'P*M\\030\\004\\0\\0\\0abcd'")
        let ends = try [0, packed(text(5000), "zstd -c stream.zst").count, stream.count]
        for count in 0..<stream.count {
            let error = failure(Array(stream[..<count]))
            if count > 0, ends.contains(count) {
                #expect(error == nil)
            } else {
                #expect(error?.code == .frame, "\(count)")
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a flipped bit of the content is found by its checksum`() throws {
        var stream = try packed((0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }, "zstd -1 -c stream.zst")
        stream[stream.count - 1] ^= 1
        #expect(failure(stream)?.code == .frameChecksum)
    }

    @Test(.timeLimit(.minutes(1)))
    func `what is no zstd is named with its offset`() throws {
        #expect(failure(Array("a gzip or whatever".utf8))?.detail == "not a zstd stream")
        // Version 0.7 of the format, which libzstd may be built to read.
        #expect(failure([0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0])?.detail == "not a zstd stream")
        let frame = try packed(text(100), "zstd -c stream.zst")
        let error = try #require(failure(frame + Array("trailing".utf8)))
        #expect(error.streamOffset == UInt64(frame.count))
        #expect(error.detail.contains("follows"))
    }

    @Test(.timeLimit(.minutes(1)))
    func `a window above what stock zstd takes is refused, and the message says what it would take`() throws {
        // From a pipe, so that the frame has no size and keeps the whole window.
        let wide = try packed([], "head -c 1M /dev/zero | zstd -1 --long=28 -c")
        let error = try #require(failure(wide))
        #expect(error.code == .window)
        #expect(error.detail.contains("--long=28"), "\(error)")
        let stock = try Workbench(wide).run("zstd -dc stream.zst > /dev/null")
        #expect(stock.status != 0)
        let narrow = try packed([], "head -c 1M /dev/zero | zstd -1 --long=27 -c")
        #expect(try decode(narrow, giving: 1 << 20).count == 1 << 20)
    }
}
