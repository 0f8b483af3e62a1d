import Testing

@testable import Filesystem

@Suite("Read-ahead planning")
struct ReadAheadTests {
    private let mebibyte: UInt64 = 1 << 20

    private func read(_ planner: inout ReadAheadPlanner, _ offset: UInt64, _ count: UInt64) -> Int {
        planner.note(read: offset..<offset + count, lastFrame: Int((offset + count - 1) / mebibyte))
    }

    @Test func `a sequential reader gets a window that doubles up to the limit`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        let windows = (0..<8).map { read(&planner, $0 * mebibyte, mebibyte) }
        #expect(windows == [0, 1, 2, 4, 8, 16, 16, 16])
    }

    @Test func `small sequential reads ask once for each frame`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        let asked = (0..<2048).filter { read(&planner, UInt64($0) * 4096, 4096) > 0 }
        // One to begin with, then one for each of the frames entered.
        #expect(asked.count <= 9 && asked.count >= 7)
    }

    @Test func `a random reader gets nothing ahead`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        var offset: UInt64 = 1
        for _ in 0..<5000 {
            offset = (offset &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407) % (1 << 40)
            #expect(read(&planner, offset & ~4095, 4096) == 0)
        }
    }

    @Test func `several streams in one file each get theirs`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        let starts: [UInt64] = [0, 1 << 30, 1 << 31, 1 << 32]
        var last: [Int] = []
        for step in 0..<6 {
            last = starts.map { read(&planner, $0 + UInt64(step) * mebibyte, mebibyte) }
        }
        #expect(last == [16, 16, 16, 16])
    }

    @Test func `reads that the kernel split and reordered stay one stream`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        for step in 0..<4 { _ = read(&planner, UInt64(step) * mebibyte, mebibyte) }
        #expect(read(&planner, 5 * mebibyte, mebibyte) > 0)
        // The one that was overtaken asks for nothing again, and does not start another stream.
        #expect(read(&planner, 4 * mebibyte, mebibyte) == 0)
        #expect(read(&planner, 6 * mebibyte, mebibyte) > 0)
    }
}
