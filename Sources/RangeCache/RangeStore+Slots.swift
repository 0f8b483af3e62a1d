internal import Synchronization
internal import SystemIO
internal import Workers

// Slots on the disk: their entries, the joining of blocks, and giving room back. On the writer thread.
extension RangeStore {
    /// Keeps the file system's free space above the floor by giving slots back. True when `needed` more bytes may be taken.
    func keepFloor(_ disk: any CacheDisk, needed: UInt64) throws(Errno) -> Bool {
        var space = try disk.space()
        let floor = settings.freeSpaceFloorByteCount ?? max(1 << 30, space.totalByteCount / 20)
        if space.availableByteCount >= floor, space.availableByteCount - floor >= needed { return true }
        while space.availableByteCount < floor {
            // A few slots between looks: file systems give room back in their own time.
            for _ in 0..<8 {
                guard let victim = table.withLock({ $0.evict() }) else { return false }
                counters.evicted(blocks: victim.blocks)
                try eraseEntry(ofSlot: victim.slot, disk)
                try release(slot: victim.slot, disk)
            }
            space = try disk.space()
        }
        return false
    }

    func release(slot: UInt32, _ disk: any CacheDisk) throws(Errno) {
        let start = geometry.dataOffset(ofSlot: slot)
        try disk.release(start..<start + geometry.slotByteCount)
    }

    func eraseEntry(ofSlot slot: UInt32, _ disk: any CacheDisk) throws(Errno) {
        let offset = geometry.entryOffset(ofSlot: slot)
        try withScratch(SlotEntry.tagByteCount) { (bytes) throws(Errno) in
            bytes.initializeMemory(as: UInt8.self, repeating: 0)
            try disk.write(.index, UnsafeRawBufferPointer(bytes), at: offset)
        }
    }

    func readEntry(ofSlot slot: UInt32, _ disk: any CacheDisk) throws(Errno) -> SlotEntry? {
        try withScratch(geometry.entryByteCount) { (bytes) throws(Errno) in
            try read(disk, .index, at: geometry.entryOffset(ofSlot: slot), into: bytes)
            return SlotEntry(parsing: UnsafeRawBufferPointer(bytes), slot: slot)
        }
    }

    func writeEntry(_ entry: SlotEntry, ofSlot slot: UInt32, _ disk: any CacheDisk) throws(Errno) {
        try withScratch(geometry.entryByteCount) { (bytes) throws(Errno) in
            entry.serialize(into: bytes, slot: slot)
            try disk.write(.index, UnsafeRawBufferPointer(bytes), at: geometry.entryOffset(ofSlot: slot))
        }
    }

    private func withScratch<Result>(
        _ byteCount: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 8)
        defer { bytes.deallocate() }
        return try body(bytes)
    }

    /// Notes in the entry what each block will hold; returns the blocks that change. A block that is there in part grows when
    /// the new bytes touch the old ones; otherwise the longer stretch stays.
    func merge(
        _ part: SegmentPart, _ bytes: UnsafeRawBufferPointer, into entry: inout SlotEntry, slot: UInt32,
        _ disk: any CacheDisk
    ) throws(Errno) -> [Int] {
        var written: [Int] = []
        for block in part.blocks {
            let new = part.bytes(inBlock: block)
            let base = block * CacheGeometry.blockByteCount - part.bytes.lowerBound
            let fresh = bytes.part(base + new.lowerBound..<base + new.upperBound)
            let old = entry.blocks[block].valid
            let union = min(old.lowerBound, new.lowerBound)..<max(old.upperBound, new.upperBound)
            if old.isEmpty || union == new {
                entry.set(block, valid: new, fresh)
            } else if union == old {
                continue
            } else if new.lowerBound <= old.upperBound, old.lowerBound <= new.upperBound {
                try join(block, old, new, fresh, into: &entry, slot: slot, disk)
            } else if new.count >= old.count {
                entry.set(block, valid: new, fresh)
            } else {
                continue
            }
            written.append(block)
        }
        return written
    }

    private func join(
        _ block: Int, _ old: Range<Int>, _ new: Range<Int>, _ fresh: UnsafeRawBufferPointer,
        into entry: inout SlotEntry, slot: UInt32, _ disk: any CacheDisk
    ) throws(Errno) {
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: CacheGeometry.blockByteCount, alignment: 8)
        defer { scratch.deallocate() }
        let offset =
            geometry.dataOffset(ofSlot: slot) + UInt64(block * CacheGeometry.blockByteCount + old.lowerBound)
        try read(disk, .data, at: offset, into: scratch.part(old))
        guard entry.isIntact(block, UnsafeRawBufferPointer(scratch.part(old))) else {
            counters.badBlocks.add(1)
            return entry.set(block, valid: new, fresh)
        }
        scratch.part(new).copyMemory(from: fresh)
        let union = min(old.lowerBound, new.lowerBound)..<max(old.upperBound, new.upperBound)
        entry.set(block, valid: union, UnsafeRawBufferPointer(scratch.part(union)))
    }
}
