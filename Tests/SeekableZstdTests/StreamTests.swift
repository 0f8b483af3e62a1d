import SeekableZstd
import Testing

@Suite("Documents as one frame", .timeLimit(.minutes(1)))
struct StreamTests {
    private func compressed(_ raw: [UInt8], step: Int) throws -> [UInt8] {
        var compressor = StreamCompressor(level: 3)
        var output: [UInt8] = []
        for start in stride(from: 0, to: raw.count, by: step) {
            try raw[start..<min(raw.count, start + step)].withUnsafeBytes { try compressor.update($0) { output += $0 } }
        }
        try compressor.finish { output += $0 }
        return output
    }

    private func decompressed(_ bytes: [UInt8], step: Int) throws -> [UInt8] {
        var decompressor = DocumentDecompressor()
        var output: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: step) {
            try bytes[start..<min(bytes.count, start + step)].withUnsafeBytes {
                try decompressor.update($0) { output += $0 }
            }
        }
        try decompressor.finish()
        return output
    }

    @Test(arguments: [0, 1, 1000, 131_071, 131_072, 131_073, 3_000_000], [1000, 200_000, 10_000_000])
    func `what goes in comes out, in any steps`(count: Int, step: Int) throws {
        let raw = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 / 7919) }
        let bytes = try compressed(raw, step: step)
        #expect(try decompressed(bytes, step: step) == raw)
        #expect(try decompressed(bytes, step: 77_777) == raw)
    }

    @Test func `what is cut, changed or too long is refused`() throws {
        let raw = [UInt8](repeating: 9, count: 100_000)
        let good = try compressed(raw, step: 1000)
        for count in [0, 1, 4, 10, good.count - 1] {
            #expect(throws: SeekableZstdError.self, "\(count)") { try decompressed(Array(good.prefix(count)), step: 7) }
        }
        #expect(throws: SeekableZstdError.self) { try decompressed(good + [0], step: 1000) }
        #expect(throws: SeekableZstdError.self) { try decompressed(good + good, step: 5) }
        var bad = good
        bad[bad.count - 1] ^= 1
        #expect(throws: SeekableZstdError.self) { try decompressed(bad, step: 1000) }
    }

    @Test func `a frame that wants a large window is refused`() throws {
        // Magic number, a descriptor without a content size, a window of 2^31 bytes, an empty last block.
        let bytes: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]
        #expect(throws: SeekableZstdError.self) { try decompressed(bytes, step: 100) }
    }
}
