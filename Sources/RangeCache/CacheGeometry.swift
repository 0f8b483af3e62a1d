/// How a cache of a given capacity is laid out: slots of a few blocks each. A value without I/O.
///
/// A *block* is the 65,552 bytes of one sealed age chunk. An archive is cut into blocks so that a boundary lies where its
/// first chunk starts; whole chunks are whole blocks then. A *segment* is a fixed number of consecutive blocks of an archive,
/// a *slot* is the place for one segment in the data file.
package struct CacheGeometry: Sendable, Hashable {
    /// A sealed age chunk: 65,536 bytes and the tag of 16.
    package static let blockByteCount = 65_552
    /// What file systems allocate by; slots start at multiples of it, so that a slot can be given back alone.
    package static let pageByteCount = 4096
    /// The slots there are at most, up to 1 TiB: it bounds the memory for the table to some 16 MiB.
    package static let slotLimit: UInt64 = 1 << 18
    /// For the index's header and the rounding of both files to pages.
    static let fixedReserveByteCount: UInt64 = 64 << 10

    package let blocksPerSlot: Int
    package let slotCount: Int

    /// Nil when not a single slot fits.
    ///
    /// 1/128 is held back for what file systems count as part of a file: its extent blocks (ext4: 4 KiB for 340 extents; a
    /// slot of 4 blocks has at most 5).
    package init?(capacityByteCount: UInt64) {
        let held = Self.fixedReserveByteCount + capacityByteCount / 128
        guard capacityByteCount > held else { return nil }
        let usable = capacityByteCount - held
        let choices = [4, 16, 64]
        let blocks = choices.first { usable / Self.slotCost($0) <= Self.slotLimit } ?? 64
        let count = min(usable / Self.slotCost(blocks), UInt64(UInt32.max) - 1)
        guard count > 0 else { return nil }
        blocksPerSlot = blocks
        slotCount = Int(count)
    }

    init(blocksPerSlot: Int, slotCount: Int) {
        self.blocksPerSlot = blocksPerSlot
        self.slotCount = slotCount
    }

    private static func slotCost(_ blocks: Int) -> UInt64 {
        let geometry = CacheGeometry(blocksPerSlot: blocks, slotCount: 1)
        return geometry.slotByteCount + UInt64(geometry.entryByteCount)
    }

    /// The archive's bytes that one segment spans.
    var segmentByteCount: UInt64 { UInt64(blocksPerSlot * Self.blockByteCount) }

    /// The distance from slot to slot in the data file.
    var slotByteCount: UInt64 {
        let page = UInt64(Self.pageByteCount)
        return (segmentByteCount + page - 1) / page * page
    }

    var entryByteCount: Int { SlotEntry.byteCount(blocksPerSlot: blocksPerSlot) }
    var dataByteCount: UInt64 { UInt64(slotCount) * slotByteCount }
    var indexByteCount: UInt64 { entryOffset(ofSlot: UInt32(slotCount)) }

    func dataOffset(ofSlot slot: UInt32) -> UInt64 { UInt64(slot) * slotByteCount }

    func entryOffset(ofSlot slot: UInt32) -> UInt64 {
        UInt64(IndexHeader.byteCount) + UInt64(slot) * UInt64(entryByteCount)
    }

    /// Whether segments up to this archive offset can be numbered: 1 PiB and more.
    func spans(_ archiveOffset: UInt64) -> Bool {
        archiveOffset < (UInt64(UInt32.max) - 1) * segmentByteCount - UInt64(Self.blockByteCount)
    }

    /// Cuts a range of an archive's grid offsets into the parts that lie in one segment each.
    func parts(of range: Range<UInt64>) -> [SegmentPart] {
        var parts: [SegmentPart] = []
        var start = range.lowerBound
        while start < range.upperBound {
            let segment = start / segmentByteCount
            let base = segment * segmentByteCount
            let end = min(range.upperBound, base + segmentByteCount)
            parts.append(SegmentPart(segment: UInt32(segment), bytes: Int(start - base)..<Int(end - base)))
            start = end
        }
        return parts
    }
}

/// A part of one segment of an archive; never empty.
struct SegmentPart: Sendable, Hashable {
    let segment: UInt32
    /// Counted from the start of the segment.
    let bytes: Range<Int>

    var blocks: Range<Int> {
        bytes.lowerBound / CacheGeometry.blockByteCount..<(bytes.upperBound - 1) / CacheGeometry.blockByteCount + 1
    }

    /// The part of a block that this part covers, counted from the start of the block. May be empty.
    func bytes(inBlock block: Int) -> Range<Int> {
        let base = block * CacheGeometry.blockByteCount
        let start = max(bytes.lowerBound, base)
        let end = min(bytes.upperBound, base + CacheGeometry.blockByteCount)
        return start < end ? start - base..<end - base : 0..<0
    }
}
