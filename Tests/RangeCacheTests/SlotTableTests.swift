import Testing

@testable import RangeCache

@Suite struct SlotTableTests {
    let archive = CachedArchive(identity: identity(1), gridOrigin: 0)

    func fill(_ table: inout SlotTable, _ segments: Range<UInt32>) {
        for segment in segments {
            let claim = table.claim(archive, segment: segment)
            table.addBlocks(1, to: claim.slot, archive, segment: segment)
        }
    }

    func isThere(_ table: SlotTable, _ segment: UInt32) -> Bool { table.slot(of: archive, segment: segment) != nil }

    @Test func `the slot written longest ago goes first`() {
        var table = SlotTable(slotCount: 10)
        fill(&table, 0..<10)
        // Written again: it is the youngest now.
        fill(&table, 0..<1)
        fill(&table, 10..<12)
        #expect((0..<12).filter { isThere(table, $0) } == [0] + Array(3..<12))
        #expect(table.usedSlotCount == 10)
    }

    @Test func `what was used outlives a pass over a large archive`() {
        var table = SlotTable(slotCount: 10)
        fill(&table, 0..<10)
        for segment in UInt32(0)..<5 {
            guard let slot = table.slot(of: archive, segment: segment) else { continue }
            table.use(slot, generation: table[slot].generation)
        }
        fill(&table, 100..<1000)
        #expect((0..<10).filter { isThere(table, $0) } == Array(0..<5))
        #expect((100..<1000).filter { isThere(table, $0) } == Array(995..<1000))
    }

    @Test func `the protected are at most four fifths, the longest unused of them goes back`() {
        var table = SlotTable(slotCount: 10)
        fill(&table, 0..<10)
        for segment in UInt32(0)..<10 {
            guard let slot = table.slot(of: archive, segment: segment) else { continue }
            table.use(slot, generation: table[slot].generation)
        }
        #expect(table.count(of: .protected) == 8)
        fill(&table, 20..<22)
        #expect((0..<10).filter { isThere(table, $0) } == Array(2..<10))
    }

    @Test func `a slot that was given away keeps nothing of its old owner`() {
        var table = SlotTable(slotCount: 1)
        fill(&table, 0..<1)
        let generation = table[0].generation
        let claim = table.claim(archive, segment: 7)
        #expect(claim.isNew && claim.evictedBlocks == 1)
        #expect(table[0].blocks == 0)
        #expect(table[0].generation != generation)
        table.use(0, generation: generation)
        #expect(table.count(of: .protected) == 0)
        table.addBlocks(3, to: 0, archive, segment: 0)
        #expect(table[0].blocks == 0)
    }

    @Test func `geometry keeps both files below the cap and the table small`() {
        #expect(CacheGeometry(capacityByteCount: 0) == nil)
        #expect(CacheGeometry(capacityByteCount: 100_000) == nil)
        for shift in 19...40 {
            for capacity in [UInt64(1) << shift, UInt64(1) << shift + 12_345] {
                guard let geometry = CacheGeometry(capacityByteCount: capacity) else {
                    Issue.record("no geometry for \(capacity)")
                    continue
                }
                #expect(geometry.dataByteCount + geometry.indexByteCount + 8192 <= capacity)
                #expect(geometry.slotCount <= 1 << 18 || shift == 40)
                if shift >= 24 { #expect(geometry.dataByteCount > capacity / 16 * 15) }
            }
        }
        #expect(MemoryLayout<SlotTable.Slot>.stride <= 32)
    }
}
