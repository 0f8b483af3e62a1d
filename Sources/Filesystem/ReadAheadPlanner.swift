/// Tells sequential readers from random ones, and how far ahead a sequential one deserves to be read for.
///
/// A value without I/O: it sees the reads of one open file and answers each with a number of frames. Several streams per
/// file are told apart, so that parallel readers and a reader with two positions each get theirs; a random reader gets
/// nothing ahead, ever.
struct ReadAheadPlanner {
    /// As many positions in one file are followed; the one unused for longest goes first.
    static let streamLimit = 8
    /// A read that starts this far before or behind where a stream stands still belongs to it, once it is known to be a
    /// stream: kernels split and reorder large reads (1 MiB each).
    static let slack: UInt64 = 2 << 20

    private struct Stream {
        /// Where the next read is expected (raw offset).
        var next: UInt64
        /// Reads that continued the stream.
        var continuations = 0
        var window = 0
        var lastFrame = -1
        var lastUse: UInt64
    }

    /// Frames read ahead for a stream at most.
    let windowLimit: Int
    private var streams: [Stream] = []
    private var clock: UInt64 = 0

    init(windowLimit: Int) {
        self.windowLimit = windowLimit
    }

    /// Notes a read of `range` (raw bytes) that ends in frame `lastFrame`. Returns how many frames behind that one should be
    /// on their way: 0 for a random reader, and where the stream has not entered another frame.
    mutating func note(read range: Range<UInt64>, lastFrame: Int) -> Int {
        clock += 1
        guard let index = streams.firstIndex(where: { Self.continues($0, range) }) else {
            if streams.count == Self.streamLimit,
                let oldest = streams.indices.min(by: { streams[$0].lastUse < streams[$1].lastUse })
            {
                streams.remove(at: oldest)
            }
            streams.append(Stream(next: range.upperBound, lastFrame: lastFrame, lastUse: clock))
            return 0
        }
        streams[index].lastUse = clock
        streams[index].continuations += 1
        streams[index].next = max(streams[index].next, range.upperBound)
        guard lastFrame > streams[index].lastFrame || streams[index].window == 0 else { return 0 }
        streams[index].lastFrame = max(lastFrame, streams[index].lastFrame)
        streams[index].window = min(windowLimit, max(1, streams[index].window * 2))
        return streams[index].window
    }

    private static func continues(_ stream: Stream, _ range: Range<UInt64>) -> Bool {
        if stream.continuations == 0 { return range.lowerBound == stream.next }
        return range.lowerBound <= stream.next + slack && range.lowerBound + slack >= stream.next
    }
}
