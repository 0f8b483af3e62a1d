import Archive
import BackupEngine
import Testing
import Workers

@Suite("Frame window")
struct FrameWindowTests {
    static let frame = 4096

    /// Collects what comes out.
    final class Collector: FrameSink {
        let pool = BufferPool(capacityByteCount: 64 << 20)
        private(set) var bytes: [UInt8] = []
        private(set) var zeroBlocks: UInt64 = 0
        /// Whether this wait for room is interrupted.
        private let interrupts: () -> Bool

        init(interrupts: @escaping () -> Bool = { false }) { self.interrupts = interrupts }

        func awaitRoom() throws {
            if interrupts() { throw FrameWindow.Interruption() }
        }

        var frameByteCount: Int { FrameWindowTests.frame }

        func takeFrameBuffer() throws -> Buffer {
            let buffer = pool.takeWaiting(byteCount: frameByteCount)
            // What was in the memory before must never come out.
            buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0xdd)
            return buffer
        }

        func submit(_ raw: Buffer, count: Int) throws { bytes += raw.prefix(count) }

        func submitZeroBlocks(_ blocks: UInt64) throws {
            zeroBlocks += blocks
            bytes += [UInt8](repeating: 0, count: Int(blocks) * frameByteCount)
        }
    }

    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 31
        }
    }

    private func write(_ window: inout FrameWindow, _ bytes: [UInt8], at offset: Int, to sink: Collector) throws {
        let count = try bytes.withUnsafeBytes { try window.write($0, at: UInt64(offset), to: sink) }
        #expect(count == bytes.count)
    }

    @Test(arguments: 0..<100)
    func `a writer that is interrupted writes the rest again, and nothing is lost or doubled`(seed: Int) throws {
        var generator = Generator(state: UInt64(seed))
        var decisions = Generator(state: UInt64(seed) + 1000)
        let sink = Collector { Int.random(in: 0..<3, using: &decisions) == 0 }
        var window = FrameWindow(frameByteCount: Self.frame)
        var model: [UInt8] = []
        var interruptions = 0
        for _ in 0..<60 {
            // Now and then a gap, which the window closes later.
            let gap = Int.random(in: 0..<5, using: &generator) == 0 ? Int.random(in: 1...20_000, using: &generator) : 0
            let bytes = (0..<Int.random(in: 1...4 * Self.frame, using: &generator)).map { _ in
                UInt8.random(in: 1...255, using: &generator)
            }
            model += [UInt8](repeating: 0, count: gap)
            var rest = bytes[...]
            while !rest.isEmpty {
                let offset = UInt64(model.count + bytes.count - rest.count)
                do {
                    let count = try Array(rest).withUnsafeBytes { try window.write($0, at: offset, to: sink) }
                    #expect(count > 0)
                    rest = rest.dropFirst(count)
                } catch is FrameWindow.Interruption {
                    interruptions += 1
                }
            }
            model += bytes
        }
        try window.finish(rawByteCount: UInt64(model.count), to: sink)
        #expect(sink.bytes == model)
        #expect(interruptions > 0)
    }

    @Test(arguments: 0..<200)
    func `writes in any order inside the window come out in order, gaps as zeros`(seed: Int) throws {
        var generator = Generator(state: UInt64(seed))
        let sink = Collector()
        var window = FrameWindow(frameByteCount: Self.frame)
        var model: [UInt8] = []
        for _ in 0..<Int.random(in: 1...60, using: &generator) {
            let start = Int(window.streamOffset)
            // Mostly near the stream, at times far ahead, at times behind.
            let offset: Int
            switch Int.random(in: 0..<10, using: &generator) {
            case 0: offset = start + Int.random(in: 0...40 * Self.frame, using: &generator)
            case 1: offset = max(0, start - Int.random(in: 1...Self.frame, using: &generator))
            default: offset = start + Int.random(in: 0...6 * Self.frame, using: &generator)
            }
            let bytes = (0..<Int.random(in: 1...3 * Self.frame, using: &generator)).map { _ in
                UInt8.random(in: 1...255, using: &generator)
            }
            if offset < start {
                #expect(throws: FrameWindow.Failure.behind(streamOffset: UInt64(start))) {
                    try write(&window, bytes, at: offset, to: sink)
                }
                continue
            }
            try write(&window, bytes, at: offset, to: sink)
            if model.count < offset + bytes.count {
                model += [UInt8](repeating: 0, count: offset + bytes.count - model.count)
            }
            model.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        #expect(window.highWater == UInt64(model.count))
        let end = model.count + Int.random(in: 0...3 * Self.frame, using: &generator)
        model += [UInt8](repeating: 0, count: end - model.count)
        try window.finish(rawByteCount: UInt64(end), to: sink)
        #expect(sink.bytes == model)
    }

    @Test func `a far jump costs no memory`() throws {
        let sink = Collector()
        var window = FrameWindow(frameByteCount: Self.frame)
        try write(&window, [1], at: 0, to: sink)
        try write(&window, [2], at: 5000 * Self.frame, to: sink)
        #expect(sink.zeroBlocks >= 4980)
        #expect(sink.pool.usedByteCount <= 4 * Self.frame)
        try window.finish(rawByteCount: window.highWater, to: sink)
        #expect(sink.bytes.count == 5000 * Self.frame + 1)
        #expect(sink.bytes.first == 1 && sink.bytes.last == 2)
    }

    @Test func `a sequential writer holds one frame`() throws {
        let sink = Collector()
        var window = FrameWindow(frameByteCount: Self.frame)
        for index in 0..<100 {
            try write(&window, [UInt8](repeating: UInt8(index + 1), count: 1000), at: index * 1000, to: sink)
            #expect(sink.pool.usedByteCount <= 2 * Self.frame)
        }
    }
}
