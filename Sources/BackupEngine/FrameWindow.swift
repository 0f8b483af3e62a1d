internal import Archive
package import Workers

/// What takes whole frames, in order.
package protocol FrameSink {
    var frameByteCount: Int { get }
    /// Waits until a frame can be taken or submitted without waiting, or throws `FrameWindow.Interruption`; nothing has
    /// happened then.
    func awaitRoom() throws
    func takeFrameBuffer() throws -> Buffer
    func submit(_ raw: Buffer, count: Int) throws
    func submitZeroBlocks(_ blocks: UInt64) throws
}

/// Puts the writes of a staged file into order: a few frames ahead of the stream may be filled in any order; what was
/// jumped over and is pushed out of the window is zeros; what comes behind the window is too late.
///
/// One thread at a time, by its owner's lock.
package struct FrameWindow {
    /// How many frames the window spans: eight parallel writers of `qemu-img convert` at 1 MiB each.
    package static let frameLimit = 8

    package enum Failure: Error, Hashable {
        /// The write is behind what has been streamed already; the stream stands at `streamOffset` (raw bytes).
        case behind(streamOffset: UInt64)
    }

    /// Whoever writes does not want to wait any longer. What was taken is kept; the rest can be written again.
    package struct Interruption: Error {
        package init() {}
    }

    /// A frame being filled, and which parts of it are.
    private struct Partial {
        let buffer: Buffer
        /// Filled ranges, sorted, neither overlapping nor touching.
        var filled: [Range<Int>] = []

        mutating func fill(_ range: Range<Int>) {
            if let last = filled.last, last.upperBound == range.lowerBound {
                filled[filled.count - 1] = last.lowerBound..<range.upperBound
                return
            }
            var merged = range
            filled.removeAll { other in
                guard other.lowerBound <= merged.upperBound, merged.lowerBound <= other.upperBound else { return false }
                merged = min(merged.lowerBound, other.lowerBound)..<max(merged.upperBound, other.upperBound)
                return true
            }
            let place = filled.firstIndex { $0.lowerBound > merged.lowerBound } ?? filled.count
            filled.insert(merged, at: place)
        }

        /// Writes zeros where nothing was written.
        func zeroGaps(upTo end: Int) {
            var position = 0
            for range in filled + [end..<end] {
                if position < range.lowerBound {
                    let gap = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[position..<range.lowerBound])
                    gap.initializeMemory(as: UInt8.self, repeating: 0)
                }
                position = max(position, range.upperBound)
            }
        }
    }

    private let frameByteCount: Int
    /// The frames from `firstFrame` on; nil where nothing was written yet.
    private var frames: [Partial?] = []
    private var firstFrame: UInt64 = 0
    /// The end of the last byte written.
    package private(set) var highWater: UInt64 = 0

    package init(frameByteCount: Int) {
        self.frameByteCount = frameByteCount
    }

    /// The raw offset up to which everything has gone into the stream.
    package var streamOffset: UInt64 { firstFrame * UInt64(frameByteCount) }

    /// Returns how many bytes were taken: all, unless the sink's wait was interrupted; that throws when none were.
    @discardableResult
    package mutating func write(
        _ bytes: UnsafeRawBufferPointer, at rawOffset: UInt64, to sink: some FrameSink
    ) throws -> Int {
        guard rawOffset >= streamOffset else { throw Failure.behind(streamOffset: streamOffset) }
        let size = UInt64(frameByteCount)
        var done = 0
        do {
            while done < bytes.count {
                let offset = rawOffset + UInt64(done)
                let frame = offset / size
                let start = Int(offset % size)
                let count = min(bytes.count - done, frameByteCount - start)
                try push(until: frame, to: sink)
                let index = Int(frame - firstFrame)
                while frames.count <= index { frames.append(nil) }
                if frames[index] == nil {
                    try sink.awaitRoom()
                    frames[index] = Partial(buffer: try sink.takeFrameBuffer())
                }
                frames[index]?.buffer.bytes.baseAddress?.advanced(by: start)
                    .copyMemory(from: UnsafeRawPointer(bytes.baseAddress!).advanced(by: done), byteCount: count)
                frames[index]?.fill(start..<start + count)
                done += count
                highWater = max(highWater, offset + UInt64(count))
            }
            // Only now: the write may run over frames that are full already, and what is submitted cannot be written again.
            try submitFullFrames(to: sink)
        } catch let interruption as Interruption {
            // Full frames that are still here go with the next write.
            if done == 0 { throw interruption }
        }
        return done
    }

    /// Ends the stream at `rawByteCount` (at least `highWater`): what was not written is zeros.
    package mutating func finish(rawByteCount: UInt64, to sink: some FrameSink) throws {
        precondition(rawByteCount >= highWater, "internal error: a stream that ends before what was written")
        let size = UInt64(frameByteCount)
        let wholeFrames = rawByteCount / size
        while firstFrame < wholeFrames, !frames.isEmpty { try pushFirst(to: sink) }
        if firstFrame < wholeFrames {
            try sink.submitZeroBlocks(wholeFrames - firstFrame)
            firstFrame = wholeFrames
        }
        let rest = Int(rawByteCount % size)
        guard rest > 0 else { return }
        let last = try frames.first.flatMap { $0 } ?? Partial(buffer: sink.takeFrameBuffer())
        last.zeroGaps(upTo: rest)
        frames = []
        try sink.submit(last.buffer, count: rest)
    }

    /// Drops what is held.
    package mutating func discard() { frames = [] }

    private mutating func submitFullFrames(to sink: some FrameSink) throws {
        while let first = frames.first, let partial = first, partial.filled == [0..<frameByteCount] {
            try sink.awaitRoom()
            frames.removeFirst()
            firstFrame += 1
            try sink.submit(partial.buffer, count: frameByteCount)
        }
    }

    /// Makes room for `frame` in the window.
    private mutating func push(until frame: UInt64, to sink: some FrameSink) throws {
        while frame >= firstFrame + UInt64(Self.frameLimit) {
            if frames.isEmpty {
                let jump = frame - firstFrame - UInt64(Self.frameLimit - 1)
                firstFrame += jump
                try sink.submitZeroBlocks(jump)
            } else {
                try sink.awaitRoom()
                try pushFirst(to: sink)
            }
        }
    }

    private mutating func pushFirst(to sink: some FrameSink) throws {
        let first = frames.removeFirst()
        firstFrame += 1
        guard let first else { return try sink.submitZeroBlocks(1) }
        first.zeroGaps(upTo: frameByteCount)
        try sink.submit(first.buffer, count: frameByteCount)
    }
}
