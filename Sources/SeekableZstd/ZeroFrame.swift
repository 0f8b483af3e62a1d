/// Frames of nothing but zeros, defined byte for byte, whatever the version of libzstd.
///
/// | offset | size | field | value |
/// |---|---|---|---|
/// | 0 | 4 | magic number | 28 B5 2F FD |
/// | 4 | 1 | frame header descriptor | 84: content size in 4 bytes, checksum, no single segment |
/// | 5 | 1 | window descriptor | 58: 2 MiB |
/// | 6 | 4 | frame content size | the raw size, little-endian |
/// | 10 | 4 | first block: raw, one byte | 08 00 00, 00 |
/// | 14 | 4 × n | RLE blocks of up to 128 KiB, the last one marked so | header, 00 |
/// | 14 + 4n | 4 | content checksum | the low 32 bits of XXH64 |
///
/// The first block is raw because zstd's command up to 1.4.3 fails on a frame that starts with an RLE block. Hence the blocks:
/// one zero, then 128 KiB each, then 128 KiB less one byte.
package enum ZeroFrame {
    /// Raw sizes are powers of two in this range.
    package static let minimumByteCount = 64 << 10
    package static let maximumByteCount = 1 << 30
    private static let blockByteCount = 128 << 10

    /// The low 32 bits of XXH64 (seed 0) of 2^k zeros, k from 16 to 30. A test computes them with libzstd.
    private static let checksums: [UInt32] = [
        0xF157_15A4, 0x7A95_5073, 0xA60F_2740, 0xB605_C552, 0xE116_3EF1, 0xF88E_23DB,
        0x7CBC_9D28, 0x61F6_DF0F, 0x5EE2_D80B, 0x4C24_8A3F, 0x7C25_0FA7, 0x7166_0F34,
        0xB12A_620D, 0xC240_F504, 0xB7FF_077F,
    ]

    /// Whether there is a zero frame of that size.
    package static func exists(rawByteCount: Int) -> Bool {
        rawByteCount >= minimumByteCount && rawByteCount <= maximumByteCount && rawByteCount.nonzeroBitCount == 1
    }

    /// The seek table's entry of the zero frame of that size, which must exist.
    package static func entry(rawByteCount: Int) -> SeekTable.Entry {
        precondition(
            exists(rawByteCount: rawByteCount), "internal error: there is no zero frame of \(rawByteCount) bytes")
        let checksum = checksums[rawByteCount.trailingZeroBitCount - minimumByteCount.trailingZeroBitCount]
        return SeekTable.Entry(
            compressedByteCount: UInt32(compressedByteCount(rawByteCount)), rawByteCount: UInt32(rawByteCount),
            checksum: checksum)
    }

    /// The frame itself.
    package static func bytes(rawByteCount: Int) -> [UInt8] {
        let entry = entry(rawByteCount: rawByteCount)
        var bytes: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x84, 0x58]
        bytes.reserveCapacity(Int(entry.compressedByteCount))
        append(entry.rawByteCount, to: &bytes)
        bytes += [0x08, 0, 0, 0]
        var rest = rawByteCount - 1
        while rest > 0 {
            let size = min(rest, blockByteCount)
            rest -= size
            // Block header: bit 0 last, bits 1 and 2 type (1: RLE), then the size; 3 bytes, little-endian.
            let header = UInt32(size) << 3 | 1 << 1 | (rest == 0 ? 1 : 0)
            bytes += [UInt8(header & 0xff), UInt8(header >> 8 & 0xff), UInt8(header >> 16), 0]
        }
        append(entry.checksum, to: &bytes)
        return bytes
    }

    /// The raw sizes of the frames that a run of zero blocks becomes, largest first.
    package static func decomposition(ofBlocks blocks: UInt64, blockByteCount: Int) -> [Int] {
        var rest = blocks
        var sizes: [Int] = []
        var size = maximumByteCount
        while size >= blockByteCount {
            let each = UInt64(size / blockByteCount)
            sizes += Array(repeating: size, count: Int(rest / each))
            rest %= each
            size /= 2
        }
        return sizes
    }

    private static func compressedByteCount(_ rawByteCount: Int) -> Int {
        14 + 4 * ((rawByteCount - 1 + blockByteCount - 1) / blockByteCount) + 4
    }

    private static func append(_ value: UInt32, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }
}
