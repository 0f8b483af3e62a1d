/// Why a partition table cannot be used although it is there.
package struct DiskImageError: Error, Hashable, CustomStringConvertible {
    package let detail: String
    package var description: String { detail }
}

/// Little-endian integers at offsets of a block; nil beyond its end.
struct BlockReader {
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    func integer<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value? {
        guard offset >= 0, offset + MemoryLayout<Value>.size <= bytes.count else { return nil }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    func bigEndian<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value? {
        integer(offset, as: type)?.byteSwapped
    }

    func hasText(_ text: String, at offset: Int) -> Bool {
        offset + text.utf8.count <= bytes.count && bytes[offset..<offset + text.utf8.count].elementsEqual(text.utf8)
    }
}

/// CRC-32 (IEEE 802.3, reflected), as GPT uses it, and CRC-32C (Castagnoli), as XFS, btrfs and ext4 do.
enum Checksum {
    static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 { ~run(bytes, ieee, 0xffff_ffff) }
    static func crc32c(_ bytes: some Sequence<UInt8>, seed: UInt32 = 0xffff_ffff) -> UInt32 { run(bytes, castagnoli, seed) }

    private static let ieee = table(0xedb8_8320)
    private static let castagnoli = table(0x82f6_3b78)

    private static func run(_ bytes: some Sequence<UInt8>, _ table: [UInt32], _ seed: UInt32) -> UInt32 {
        bytes.reduce(seed) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }

    private static func table(_ polynomial: UInt32) -> [UInt32] {
        (0..<256).map { index in
            (0..<8).reduce(UInt32(index)) { value, _ in value >> 1 ^ (value & 1 == 1 ? polynomial : 0) }
        }
    }
}
