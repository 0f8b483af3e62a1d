internal import CryptoPrimitives

/// The first page of the index: what the two files are. The field table is in `RangeCache.md`.
struct IndexHeader: Hashable {
    static let byteCount = 4096
    static let formatVersion: UInt32 = 1
    /// "HFRANGES", little-endian.
    static let magic: UInt64 = 0x5345_474E_4152_4648
    private static let fieldsEnd = 32
    /// No slot has this number; it keys the header's tag.
    private static let tagSlot = UInt32.max

    let geometry: CacheGeometry

    init(_ geometry: CacheGeometry) { self.geometry = geometry }

    /// Nil when it is no header of this format version.
    init?(parsing bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.byteCount, bytes.word(0) == Self.magic, bytes.half(8) == Self.formatVersion,
            bytes.half(12) == UInt32(CacheGeometry.blockByteCount),
            Poly1305.Tag(low: bytes.word(32), high: bytes.word(40))
                == BlockTag.ofEntry(inSlot: Self.tagSlot, bytes.part(0..<Self.fieldsEnd))
        else { return nil }
        let blocks = bytes.half(16)
        guard (1...64).contains(blocks) else { return nil }
        geometry = CacheGeometry(blocksPerSlot: Int(blocks), slotCount: Int(bytes.half(20)))
    }

    func serialized() -> [UInt8] {
        var page = [UInt8](repeating: 0, count: Self.byteCount)
        page.withUnsafeMutableBytes { bytes in
            bytes.setWord(0, Self.magic)
            bytes.setHalf(8, Self.formatVersion)
            bytes.setHalf(12, UInt32(CacheGeometry.blockByteCount))
            bytes.setHalf(16, UInt32(geometry.blocksPerSlot))
            bytes.setHalf(20, UInt32(geometry.slotCount))
            let tag = BlockTag.ofEntry(
                inSlot: Self.tagSlot, UnsafeRawBufferPointer(bytes.part(0..<Self.fieldsEnd)))
            bytes.setWord(32, tag.low)
            bytes.setWord(40, tag.high)
        }
        return page
    }
}
