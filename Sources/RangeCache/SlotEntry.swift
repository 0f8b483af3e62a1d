internal import CryptoPrimitives

/// An entry of the index: what lies in one slot. The field table is in `RangeCache.md`.
struct SlotEntry {
    /// The tag comes first, over all that follows; a tag of zeros is an erased entry.
    static let tagByteCount = Poly1305.Tag.byteCount
    static let blocksOffset = 64
    static let blockFieldByteCount = 24

    static func byteCount(blocksPerSlot: Int) -> Int { blocksOffset + blocksPerSlot * blockFieldByteCount }

    /// The bytes of a block that are there, counted from its start (empty: none), and their tag.
    struct Block: Hashable {
        var valid: Range<Int> = 0..<0
        var tag = Poly1305.Tag(low: 0, high: 0)
    }

    var archive: CachedArchive
    var segment: UInt32
    /// Grows with each entry written: the order of age after a restart.
    var stamp: UInt64
    var blocks: [Block]

    init(archive: CachedArchive, segment: UInt32, stamp: UInt64, blocksPerSlot: Int) {
        self.archive = archive
        self.segment = segment
        self.stamp = stamp
        blocks = Array(repeating: Block(), count: blocksPerSlot)
    }

    /// Nil when the bytes are not a whole entry of this very slot: empty, torn, stale or damaged.
    init?(parsing bytes: UnsafeRawBufferPointer, slot: UInt32) {
        let stored = Poly1305.Tag(low: bytes.word(0), high: bytes.word(8))
        // Zeros are an erased entry; no tag needs to be computed for it.
        guard stored.low != 0 || stored.high != 0,
            stored == BlockTag.ofEntry(inSlot: slot, bytes.part(Poly1305.Tag.byteCount..<bytes.count))
        else { return nil }
        archive = CachedArchive(identityAt: bytes, 16, shift: bytes.half(48))
        segment = bytes.half(52)
        stamp = bytes.word(56)
        guard archive.shift < CacheGeometry.blockByteCount else { return nil }
        blocks = []
        let count = (bytes.count - Self.blocksOffset) / Self.blockFieldByteCount
        blocks.reserveCapacity(count)
        for index in 0..<count {
            let offset = Self.blocksOffset + index * Self.blockFieldByteCount
            let start = Int(bytes.half(offset))
            let end = Int(bytes.half(offset + 4))
            guard start <= end, end <= CacheGeometry.blockByteCount else { return nil }
            blocks.append(
                Block(valid: start..<end, tag: Poly1305.Tag(low: bytes.word(offset + 8), high: bytes.word(offset + 16)))
            )
        }
    }

    func serialize(into bytes: UnsafeMutableRawBufferPointer, slot: UInt32) {
        precondition(
            bytes.count == Self.byteCount(blocksPerSlot: blocks.count), "internal error: an entry of another size")
        archive.store(in: bytes, at: 16)
        bytes.setHalf(48, archive.shift)
        bytes.setHalf(52, segment)
        bytes.setWord(56, stamp)
        for (index, block) in blocks.enumerated() {
            let offset = Self.blocksOffset + index * Self.blockFieldByteCount
            bytes.setHalf(offset, UInt32(block.valid.lowerBound))
            bytes.setHalf(offset + 4, UInt32(block.valid.upperBound))
            bytes.setWord(offset + 8, block.tag.low)
            bytes.setWord(offset + 16, block.tag.high)
        }
        let tag = BlockTag.ofEntry(
            inSlot: slot, UnsafeRawBufferPointer(bytes.part(Poly1305.Tag.byteCount..<bytes.count)))
        bytes.setWord(0, tag.low)
        bytes.setWord(8, tag.high)
    }

    /// The blocks of which anything is there, one bit each.
    var presentBlocks: UInt64 {
        var bits: UInt64 = 0
        for (index, block) in blocks.enumerated() where !block.valid.isEmpty { bits |= 1 << UInt64(index) }
        return bits
    }

    /// The number of a block counted from the start of the archive's grid.
    func blockNumber(_ index: Int) -> UInt64 { UInt64(segment) * UInt64(blocks.count) + UInt64(index) }

    /// Whether these are the valid bytes of the block, unchanged.
    func isIntact(_ index: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let block = blocks[index]
        return BlockTag.ofBlock(blockNumber(index), of: archive, valid: block.valid, bytes) == block.tag
    }

    /// Notes that these are the bytes of the block now.
    mutating func set(_ index: Int, valid: Range<Int>, _ bytes: UnsafeRawBufferPointer) {
        let tag = BlockTag.ofBlock(blockNumber(index), of: archive, valid: valid, bytes)
        blocks[index] = Block(valid: valid, tag: tag)
    }
}
