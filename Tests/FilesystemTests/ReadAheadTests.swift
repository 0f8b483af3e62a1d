import Testing

@testable import Filesystem

@Suite("Read-ahead planning")
struct ReadAheadTests {
    private let mebibyte: UInt64 = 1 << 20

    private func step(_ planner: inout ReadAheadPlanner, _ offset: UInt64, _ count: UInt64) -> ReadAheadPlanner.Step {
        planner.note(
            read: offset..<offset + count, frames: Int(offset / mebibyte)...Int((offset + count - 1) / mebibyte))
    }

    private func read(_ planner: inout ReadAheadPlanner, _ offset: UInt64, _ count: UInt64) -> Int {
        step(&planner, offset, count).window
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
        #expect(asked.first == 31, "not before 128 KiB were read in a row")
    }

    @Test func `a random reader gets nothing ahead, nor does one that reads two blocks in a row now and then`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        var offset: UInt64 = 1
        for _ in 0..<5000 {
            offset = (offset &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407) % (1 << 40)
            let start = offset & ~4095
            #expect(step(&planner, start, 4096).window == 0)
            let next = step(&planner, start + 4096, 4096)
            #expect(next.window == 0 && !next.isSequential)
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

    @Test func `a short skip keeps the stream with half its window, a long one starts anew`() {
        var planner = ReadAheadPlanner(windowLimit: 64)
        for step in 0..<6 { _ = read(&planner, UInt64(step) * mebibyte, mebibyte) }
        let skip = step(&planner, 12 * mebibyte, mebibyte)
        #expect(skip.window == 8 && !skip.isSequential)
        #expect(read(&planner, 13 * mebibyte, mebibyte) == 16)
        #expect(read(&planner, 40 * mebibyte, mebibyte) == 0)
    }

    @Test func `the frames of the read before are named, so that they do not count as used again`() {
        var planner = ReadAheadPlanner(windowLimit: 16)
        #expect(step(&planner, 0, 4096).previousFrames == nil)
        #expect(step(&planner, 5 * mebibyte - 4096, 8192).previousFrames == 0...0)
        #expect(step(&planner, 0, 4096).previousFrames == 4...5)
    }
}

@Suite("Link estimate")
struct LinkEstimateTests {
    /// Requests of `byteCount` over a link that delivers one after the other, `inFlight` at a time.
    private func run(
        _ estimate: inout LinkEstimate, from start: Duration = .zero, roundTrip: Double, bytesPerSecond: Double,
        byteCount: Int, inFlight: Int, count: Int
    ) -> Duration {
        var now = start.seconds
        var free = now
        var underWay: [(start: Double, end: Double)] = []
        for _ in 0..<count {
            if underWay.count == inFlight {
                let first = underWay.removeFirst()
                now = first.end
                estimate.ended(startedAt: .seconds(first.start), at: .seconds(now), byteCount: byteCount)
            }
            estimate.began(at: .seconds(now))
            free = max(free, now + roundTrip) + Double(byteCount) / bytesPerSecond
            underWay.append((now, free))
        }
        for each in underWay {
            estimate.ended(startedAt: .seconds(each.start), at: .seconds(each.end), byteCount: byteCount)
            now = each.end
        }
        return .seconds(now)
    }

    @Test func `an unknown link gets the floor`() {
        #expect(LinkEstimate().depth(atLeast: 4 << 20, atMost: 12 << 20) == 4 << 20)
        #expect(LinkEstimate().depth(atLeast: 4 << 20, atMost: 2 << 20) == 2 << 20)
    }

    @Test func `the depth of 50 ms and 1 Gbit/s becomes twice what the link holds`() {
        var estimate = LinkEstimate()
        let first = run(
            &estimate, roundTrip: 0.05, bytesPerSecond: 125e6, byteCount: 400_000, inFlight: 1, count: 8)
        _ = run(
            &estimate, from: first, roundTrip: 0.05, bytesPerSecond: 125e6, byteCount: 1 << 20, inFlight: 12, count: 60)
        #expect((0.045...0.06).contains(estimate.roundTripSeconds ?? 0))
        #expect((110e6...130e6).contains(estimate.bytesPerSecond))
        #expect((11_000_000...15_000_000).contains(estimate.depth(atLeast: 0, atMost: 64 << 20)))
        #expect(estimate.depth(atLeast: 0, atMost: 12 << 20) <= 12 << 20)
    }

    @Test func `as long as the link has room the depth grows`() {
        var estimate = LinkEstimate()
        var now = Duration.zero
        var depths: [Int] = []
        for _ in 0..<10 {
            let depth = max(1 << 20, depths.last ?? 0)
            now = run(
                &estimate, from: now, roundTrip: 0.05, bytesPerSecond: 1e9, byteCount: 1 << 20,
                inFlight: (depth + (1 << 19)) >> 20, count: 16 * depth >> 20)
            depths.append(estimate.depth(atLeast: 1 << 20, atMost: 16 << 20))
        }
        #expect(depths == depths.sorted() && depths.last == 16 << 20, "\(depths)")
    }

    @Test func `a local disk needs no depth`() {
        var estimate = LinkEstimate()
        _ = run(&estimate, roundTrip: 0.0001, bytesPerSecond: 2e9, byteCount: 1 << 20, inFlight: 2, count: 100)
        #expect(estimate.depth(atLeast: 4 << 20, atMost: 12 << 20) == 4 << 20)
    }

    @Test func `idle time does not count, and random reads hardly pull the bandwidth down`() {
        var estimate = LinkEstimate()
        let now = run(&estimate, roundTrip: 0.02, bytesPerSecond: 40e6, byteCount: 1 << 20, inFlight: 4, count: 40)
        let before = estimate.bytesPerSecond
        _ = run(
            &estimate, from: now + .seconds(1000), roundTrip: 0.02, bytesPerSecond: 40e6, byteCount: 100_000,
            inFlight: 1, count: 12)
        #expect(estimate.bytesPerSecond > before * 0.7)
    }

    @Test func `failures are no measure`() {
        var estimate = LinkEstimate()
        for _ in 0..<10 {
            estimate.began(at: .zero)
            estimate.ended(startedAt: .zero, at: .seconds(60), byteCount: nil)
        }
        #expect(estimate.roundTripSeconds == nil && estimate.bytesPerSecond == 0)
    }
}
