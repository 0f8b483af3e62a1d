import Testing

@testable import BlockSources

@Suite("What of an image has to be read")
struct AllocationMapTests {
    private let frame: UInt64 = 1 << 20

    private func map(_ extents: [(UInt64, Bool)], byteCount: UInt64 = 4 << 20) -> AllocationMap {
        var map = AllocationMap(0..<byteCount, frameByteCount: 1 << 20)
        for (count, isZero) in extents { map.note(count, isZero: isZero) }
        return map
    }

    @Test func `zeros are zero, and what touches data is data`() {
        let map = map([(1 << 20, true), (100, false), ((1 << 20) - 100, true), (2 << 20, true)])
        #expect(map.isComplete)
        #expect(map.zeroByteCount(at: 0) == frame)
        #expect(map.zeroByteCount(at: frame) == 0 && map.runEnd(at: frame, ofData: true) == frame + (64 << 10))
        #expect(map.runEnd(at: frame + (64 << 10), ofData: false) == 4 << 20)
    }

    @Test func `an answer that is longer than the question, or never ends, is cut`() {
        var map = map([(3 << 20, true), (.max, false), (.max, true)])
        #expect(map.isComplete && map.runEnd(at: 3 << 20, ofData: true) == 4 << 20)
        map.noteRestAsData()
        #expect(map.notedEnd == 4 << 20)
    }

    @Test func `what nobody told is read`() {
        var map = map([(1 << 20, true), (0, false)])
        #expect(!map.isComplete && map.notedEnd == frame)
        map.noteRestAsData()
        #expect(map.runEnd(at: frame, ofData: true) == 4 << 20)
    }

    @Test func `an odd end belongs to the last granule`() {
        let map = map([(70_000, true), (1, false)], byteCount: 70_001)
        #expect(map.isComplete && map.zeroByteCount(at: 0) == 65_536 && map.runEnd(at: 65_536, ofData: true) == 70_001)
    }

    @Test func `a stretch is whole frames, and ends with the image`() {
        #expect(AllocationMap.stretch(at: 0, frameByteCount: 1 << 20, imageByteCount: .max) == 0..<1 << 30)
        #expect(AllocationMap.stretch(at: 1 << 30, frameByteCount: 1 << 20, imageByteCount: (1 << 30) + 7).count == 7)
    }
}
