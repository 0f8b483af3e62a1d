/// CRC-32 (IEEE 802.3, reflected), as GPT uses it, and CRC-32C (Castagnoli), as XFS, btrfs and ext4 do.
package enum Checksum {
    package static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 { ~remainder(of: bytes, ieee) }

    /// As XFS and btrfs store it.
    package static func crc32c(_ bytes: some Sequence<UInt8>) -> UInt32 { ~remainder(of: bytes, castagnoli) }

    /// As ext4 stores it: without the inversion at the end.
    package static func crc32cNotInverted(_ bytes: some Sequence<UInt8>) -> UInt32 { remainder(of: bytes, castagnoli) }

    private static let ieee = table(0xedb8_8320)
    private static let castagnoli = table(0x82f6_3b78)

    private static func remainder(of bytes: some Sequence<UInt8>, _ table: [UInt32]) -> UInt32 {
        bytes.reduce(0xffff_ffff) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }

    private static func table(_ polynomial: UInt32) -> [UInt32] {
        (0..<256).map { index in
            (0..<8).reduce(UInt32(index)) { value, _ in value >> 1 ^ (value & 1 == 1 ? polynomial : 0) }
        }
    }
}
