/// Tells sequential readers from random ones, and how far ahead a sequential one deserves to be read for.
///
/// A value without I/O: it sees the reads of one open file and answers each with a number of frames; what is affordable of
/// that is for others to say. Several streams per file are told apart, so that parallel readers and a reader with two
/// positions each get theirs; a random reader gets nothing ahead, ever.
///
/// | a read that starts | is |
/// |---|---|
/// | where a stream stands | its continuation: the window doubles with each frame entered |
/// | up to 2 MiB before or behind that, of a known stream | the same: kernels split and reorder large reads |
/// | up to 8 MiB ahead of a known stream | a skip: what is in flight stays of use, the window halves |
/// | anywhere else | perhaps a new stream: it gets nothing until it was continued and is 128 KiB long |
struct ReadAheadPlanner {
    /// As many positions in one file are followed; the one unused for longest goes first.
    static let streamLimit = 8
    static let slack: UInt64 = 2 << 20
    static let skipLimit: UInt64 = 8 << 20
    /// Two small reads in a row, as of a directory and its neighbour, are no stream yet.
    static let openingByteCount: UInt64 = 128 << 10

    /// What one read means.
    struct Step: Equatable {
        /// How many data frames behind this read should be on their way: 0 for a random reader, and where the stream has not
        /// entered another frame.
        var window = 0
        /// The read goes on where the stream stood, so what lies before it will hardly be read again.
        var isSequential = false
        /// The frames of the read before this one: touching them again is no second use.
        var previousFrames: ClosedRange<Int>?
    }

    private struct Stream {
        /// Where the next read is expected (raw offset).
        var next: UInt64
        /// Bytes read in a row.
        var byteCount: UInt64
        var isKnown = false
        var window = 0
        var lastFrame: Int
        var lastUse: UInt64
    }

    /// Frames read ahead for a stream at most.
    let windowLimit: Int
    private var streams: [Stream] = []
    private var previousFrames: ClosedRange<Int>?
    private var clock: UInt64 = 0

    init(windowLimit: Int) {
        self.windowLimit = windowLimit
    }

    /// Notes a read of `range` (raw bytes), which lies in `frames`.
    mutating func note(read range: Range<UInt64>, frames: ClosedRange<Int>) -> Step {
        clock += 1
        var step = Step(previousFrames: previousFrames)
        previousFrames = frames
        let start = range.lowerBound
        guard
            let index = streams.firstIndex(where: { $0.next == start })
                ?? streams.firstIndex(where: { Self.isNear(start, $0) })
        else {
            addStream(range, frames.upperBound)
            return step
        }
        streams[index].lastUse = clock
        streams[index].isKnown = true
        streams[index].byteCount += UInt64(range.count)
        let isSkip = start > streams[index].next + Self.slack
        if isSkip { streams[index].window = max(1, streams[index].window / 4) }
        streams[index].next = max(streams[index].next, range.upperBound)
        step.isSequential = !isSkip && streams[index].byteCount >= Self.openingByteCount
        guard streams[index].byteCount >= Self.openingByteCount,
            frames.upperBound > streams[index].lastFrame || streams[index].window == 0
        else { return step }
        streams[index].lastFrame = max(frames.upperBound, streams[index].lastFrame)
        streams[index].window = min(windowLimit, max(1, streams[index].window * 2))
        step.window = streams[index].window
        return step
    }

    private mutating func addStream(_ range: Range<UInt64>, _ lastFrame: Int) {
        if streams.count == Self.streamLimit,
            let oldest = streams.indices.min(by: { streams[$0].lastUse < streams[$1].lastUse })
        {
            streams.remove(at: oldest)
        }
        streams.append(
            Stream(next: range.upperBound, byteCount: UInt64(range.count), lastFrame: lastFrame, lastUse: clock))
    }

    private static func isNear(_ start: UInt64, _ stream: Stream) -> Bool {
        stream.isKnown && start <= stream.next + skipLimit && start + slack >= stream.next
    }
}
