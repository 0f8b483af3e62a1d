/// Which segment lies in which slot, and which slot goes next. A value without I/O; 64 bytes a slot, all taken together.
///
/// Slots are in one of three lists. *free*: nothing in it. *probation*: written, the last written first. *protected*: a read
/// was served wholly from the cache with its help; the last used first, at most four fifths of all slots. Evicted is the end
/// of probation, and only when that is empty the end of protected: a single pass over an archive passes through probation and
/// leaves the protected alone.
struct SlotTable {
    static let none = UInt32.max

    enum List: UInt8 { case free, probation, protected }

    struct Slot {
        var archive = SlotTable.none
        var segment: UInt32 = 0
        /// One bit for each block of which anything is there.
        var blocks: UInt64 = 0
        /// Changes whenever the slot is given away or its entry is written: a reader that finds bad bytes and another
        /// generation than at the start was overtaken, and nothing is wrong with the disk.
        var generation: UInt32 = 0
        var previous = SlotTable.none
        var next = SlotTable.none
        var list = List.free
    }

    private struct Ends {
        var first = SlotTable.none
        var last = SlotTable.none
        var count = 0
    }

    private struct ArchiveRow {
        var archive: CachedArchive
        var slotCount = 0
    }

    /// The stamp of the entry written last.
    var stamp: UInt64 = 0
    private var slots: [Slot]
    private var ends = [Ends(), Ends(), Ends()]
    private let protectedLimit: Int
    /// Archive number and segment → slot.
    private var bySegment: [UInt64: UInt32] = [:]
    private var numbers: [CachedArchive: UInt32] = [:]
    private var archives: [ArchiveRow] = []
    private var freeNumbers: [UInt32] = []

    init(slotCount: Int) {
        slots = Array(repeating: Slot(), count: slotCount)
        protectedLimit = slotCount / 5 * 4
        bySegment.reserveCapacity(slotCount)
        for slot in 0..<UInt32(slotCount) { append(slot, to: .free) }
    }

    subscript(slot: UInt32) -> Slot { slots[Int(slot)] }

    var usedSlotCount: Int { slots.count - ends[Int(List.free.rawValue)].count }
    func count(of list: List) -> Int { ends[Int(list.rawValue)].count }

    func slot(of archive: CachedArchive, segment: UInt32) -> UInt32? {
        guard let number = numbers[archive] else { return nil }
        return bySegment[Self.key(number, segment)]
    }

    /// What `claim` gives: the slot, whether it is new for this segment, and the blocks that were lost for it.
    struct Claim {
        let slot: UInt32
        let isNew: Bool
        let evictedBlocks: UInt64
    }

    /// The slot to write this segment to: its own, a free one, or the one that goes next.
    mutating func claim(_ archive: CachedArchive, segment: UInt32) -> Claim {
        if let slot = slot(of: archive, segment: segment) {
            slots[Int(slot)].generation &+= 1
            if slots[Int(slot)].list == .probation { move(slot, to: .probation) }
            return Claim(slot: slot, isNew: false, evictedBlocks: 0)
        }
        let free = ends[Int(List.free.rawValue)].first
        guard let slot = free != Self.none ? free : victim() else {
            preconditionFailure("internal error: a cache without slots")
        }
        let evicted = slots[Int(slot)].blocks
        forget(slot)
        take(slot, for: archive, segment)
        return Claim(slot: slot, isNew: true, evictedBlocks: evicted)
    }

    /// Puts in what an earlier process left, oldest first. False when the segment has a slot already.
    mutating func restore(_ archive: CachedArchive, segment: UInt32, in slot: UInt32, blocks: UInt64) -> Bool {
        guard slots[Int(slot)].list == .free, self.slot(of: archive, segment: segment) == nil else { return false }
        take(slot, for: archive, segment)
        slots[Int(slot)].blocks = blocks
        return true
    }

    /// Notes that blocks were written to a slot. Nothing when it has been given away since.
    mutating func addBlocks(_ blocks: UInt64, to slot: UInt32, _ archive: CachedArchive, segment: UInt32) {
        guard self.slot(of: archive, segment: segment) == slot else { return }
        slots[Int(slot)].generation &+= 1
        slots[Int(slot)].blocks |= blocks
    }

    /// Clears the bits of blocks; returns those that were set.
    mutating func clearBlocks(_ blocks: UInt64, of slot: UInt32) -> UInt64 {
        let cleared = slots[Int(slot)].blocks & blocks
        slots[Int(slot)].blocks &= ~blocks
        return cleared
    }

    /// Notes that a read was served from this slot.
    mutating func use(_ slot: UInt32, generation: UInt32) {
        guard slots[Int(slot)].generation == generation, slots[Int(slot)].list != .free else { return }
        move(slot, to: .protected)
        let protected = ends[Int(List.protected.rawValue)]
        if protected.count > protectedLimit { move(protected.last, to: .probation) }
    }

    /// The slot that is evicted next.
    func victim() -> UInt32? {
        let probation = ends[Int(List.probation.rawValue)].last
        if probation != Self.none { return probation }
        let protected = ends[Int(List.protected.rawValue)].last
        return protected != Self.none ? protected : nil
    }

    /// Empties the slot that goes next; nil when all are empty.
    mutating func evict() -> (slot: UInt32, blocks: UInt64)? {
        guard let slot = victim() else { return nil }
        return (slot, drop(slot))
    }

    /// Empties a slot; returns the blocks that were in it.
    @discardableResult
    mutating func drop(_ slot: UInt32) -> UInt64 {
        let blocks = slots[Int(slot)].blocks
        forget(slot)
        return blocks
    }

    // MARK: Parts

    private static func key(_ number: UInt32, _ segment: UInt32) -> UInt64 { UInt64(number) << 32 | UInt64(segment) }

    private mutating func take(_ slot: UInt32, for archive: CachedArchive, _ segment: UInt32) {
        let number: UInt32
        if let known = numbers[archive] {
            number = known
        } else if let reused = freeNumbers.popLast() {
            number = reused
            archives[Int(number)] = ArchiveRow(archive: archive)
            numbers[archive] = number
        } else {
            number = UInt32(archives.count)
            archives.append(ArchiveRow(archive: archive))
            numbers[archive] = number
        }
        archives[Int(number)].slotCount += 1
        slots[Int(slot)].archive = number
        slots[Int(slot)].segment = segment
        slots[Int(slot)].blocks = 0
        slots[Int(slot)].generation &+= 1
        bySegment[Self.key(number, segment)] = slot
        move(slot, to: .probation)
    }

    private mutating func forget(_ slot: UInt32) {
        let number = slots[Int(slot)].archive
        guard number != Self.none else { return }
        bySegment[Self.key(number, slots[Int(slot)].segment)] = nil
        archives[Int(number)].slotCount -= 1
        if archives[Int(number)].slotCount == 0 {
            numbers[archives[Int(number)].archive] = nil
            freeNumbers.append(number)
        }
        slots[Int(slot)].archive = Self.none
        slots[Int(slot)].blocks = 0
        slots[Int(slot)].generation &+= 1
        move(slot, to: .free)
    }

    private mutating func move(_ slot: UInt32, to list: List) {
        let old = slots[Int(slot)]
        let from = Int(old.list.rawValue)
        if old.previous == Self.none { ends[from].first = old.next } else { slots[Int(old.previous)].next = old.next }
        if old.next == Self.none {
            ends[from].last = old.previous
        } else {
            slots[Int(old.next)].previous = old.previous
        }
        ends[from].count -= 1
        let to = Int(list.rawValue)
        let first = ends[to].first
        slots[Int(slot)].previous = Self.none
        slots[Int(slot)].next = first
        slots[Int(slot)].list = list
        if first == Self.none { ends[to].last = slot } else { slots[Int(first)].previous = slot }
        ends[to].first = slot
        ends[to].count += 1
    }

    private mutating func append(_ slot: UInt32, to list: List) {
        let index = Int(list.rawValue)
        let last = ends[index].last
        slots[Int(slot)].previous = last
        if last == Self.none { ends[index].first = slot } else { slots[Int(last)].next = slot }
        ends[index].last = slot
        ends[index].count += 1
    }
}
