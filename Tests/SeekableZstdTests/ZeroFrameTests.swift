import Testing

@testable import SeekableZstd

@Suite("Zero frames")
struct ZeroFrameTests {
    @Test(arguments: 16...24)
    func `a zero frame decodes to zeros, and has the checksum that libzstd computes`(power: Int) throws {
        let size = 1 << power
        let entry = ZeroFrame.entry(rawByteCount: size)
        let bytes = ZeroFrame.bytes(rawByteCount: size)
        #expect(bytes.count == Int(entry.compressedByteCount))
        // libzstd checks the checksum as it decodes; larger frames are decoded by the zstd program in another test.
        #expect(try decompress(bytes, entry) == [UInt8](repeating: 0, count: size))
        #expect(try compress([UInt8](repeating: 0, count: size)).entry.checksum == entry.checksum)
    }

    /// The bytes are part of the format: an archive of the first day must be recognised for ever.
    @Test func `the smallest zero frames are these bytes`() {
        let start: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x84, 0x58]
        let first: [UInt8] = [0x08, 0, 0, 0]
        #expect(
            ZeroFrame.bytes(rawByteCount: 64 << 10)
                == start + [0, 0, 1, 0] + first + [0xfb, 0xff, 0x07, 0] + [0xa4, 0x15, 0x57, 0xf1])
        #expect(
            ZeroFrame.bytes(rawByteCount: 256 << 10)
                == start + [0, 0, 4, 0] + first + [0x02, 0, 0x10, 0] + [0xfb, 0xff, 0x0f, 0] + [0x40, 0x27, 0x0f, 0xa6])
    }

    @Test(
        arguments: [1, 2, 3, 15, 16, 17, 1023, 1024, 1025, 5000, 1 << 20] as [UInt64], [64 << 10, 1 << 20, 16 << 20])
    func `a run of zero blocks is cut into powers of two, largest first`(blocks: UInt64, blockByteCount: Int) {
        let sizes = ZeroFrame.decomposition(ofBlocks: blocks, blockByteCount: blockByteCount)
        #expect(UInt64(sizes.reduce(0, +)) == blocks * UInt64(blockByteCount))
        #expect(sizes == sizes.sorted(by: >))
        #expect(sizes.allSatisfy { ZeroFrame.exists(rawByteCount: $0) && $0 >= blockByteCount })
        // Below the largest size each occurs once at most.
        let small = sizes.filter { $0 < ZeroFrame.maximumByteCount }
        #expect(Set(small).count == small.count)
    }

    @Test func `there are no other zero frames`() {
        for size in [0, 1, 32 << 10, (64 << 10) + 1, 3 << 20, 2 << 30, -65536] {
            #expect(!ZeroFrame.exists(rawByteCount: size))
        }
        #expect(ZeroFrame.decomposition(ofBlocks: 0, blockByteCount: 1 << 20).isEmpty)
    }
}
