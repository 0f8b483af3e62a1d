internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Logging
internal import ReadTrace
internal import Synchronization
internal import Workers

/// Answers reads: at once from the cache, else by a `PendingRead`; and reads ahead of those who read in order.
///
/// What a demand needs is queued first, at the highest priority, then what should be ahead of it; nobody waits on the thread
/// that asked. Ahead there are two distances: so many archive bytes are *fetched* that the link is never idle (twice round
/// trip × bandwidth, `LinkEstimate`), and so many raw bytes are *decoded* that the reader never waits for a decoder. What
/// lies between them waits as ciphertext, which takes a half to a quarter of the memory.
final class ReadPath: Sendable {
    /// Decoded ahead of one stream: eight frames keep the workers of a small machine busy.
    static let decodedAheadByteCount = 8 << 20
    /// Data frames that one stream may have ahead, however small they are.
    static let windowLimit = 1024
    /// Requests in which a full depth is fetched: several, so that the first is over while the others are under way.
    private static let requestsPerDepth = 3

    let engine: Engine
    let cache: FrameCache
    let loader: FrameLoader
    let pending: PendingReads
    /// What waiting reads hold of the cache.
    private let heldByteCount = Atomic(0)
    private let trace: TraceRecorder?

    init(engine: Engine, pending: PendingReads = PendingReads(), trace: TraceRecorder? = nil) {
        self.trace = trace
        self.engine = engine
        self.pending = pending
        cache = FrameCache(capacityByteCount: engine.memory.frameCacheByteCount)
        loader = FrameLoader(engine: engine, cache: cache)
    }

    /// Ends all reads that wait, and lets nothing be fetched any more. What is cached can still be read.
    func close() {
        loader.close()
        pending.close()
    }

    // MARK: Disks

    /// Starts a read; the range must lie inside the file and not be empty.
    func read(
        _ range: Range<UInt64>, of disk: OpenDisk, planner: borrowing Mutex<ReadAheadPlanner>
    ) -> ReadStart {
        let content = disk.content
        let first = content.frame(containing: range.lowerBound)
        var last = first
        while content.range(ofFrame: last).upperBound < range.upperBound { last += 1 }
        let frames = first...last
        if let trace, let path = disk.pathInTree {
            trace.note(path, frames.lazy.filter { !content.isHole($0) }.map { ($0, content.range(ofFrame: $0)) })
        }
        let step = planner.withLock { $0.note(read: range, frames: frames) }
        let start: ReadStart
        if let slices = cachedSlices(of: range, in: frames, of: disk, step) {
            start = .ready(slices)
        } else {
            let answer = PendingRead(over: loader.link(of: disk.backup.identifier.backend), of: pending)
            pending.add(answer)
            DiskRead(range, in: frames, step, of: disk, self, answer: answer).advance()
            start = .pending(answer)
        }
        if step.window > 0 { readAhead(disk, after: last, window: step.window) }
        return start
    }

    private func cachedSlices(
        of range: Range<UInt64>, in frames: ClosedRange<Int>, of disk: OpenDisk, _ step: ReadAheadPlanner.Step
    ) -> [ReadSlice]? {
        let data = frames.filter { !disk.content.isHole($0) }
        let keys = data.map { FrameCache.Key(disk: disk.serial, frame: $0) }
        guard let buffers = cache.use(keys, fresh: { step.previousFrames?.contains($0) != true }) else { return nil }
        let found = Dictionary(uniqueKeysWithValues: zip(data, buffers))
        return slices(of: range, in: frames, of: disk, step, from: found)
    }

    /// The answer, from the data frames of the range. Tells the cache what a sequential reader is done with.
    func slices(
        of range: Range<UInt64>, in frames: ClosedRange<Int>, of disk: OpenDisk, _ step: ReadAheadPlanner.Step,
        from found: [Int: Buffer]
    ) -> [ReadSlice] {
        var slices: [ReadSlice] = []
        for index in frames {
            let frame = disk.content.range(ofFrame: index)
            let part = range.clamped(to: frame)
            guard let buffer = found[index] else {
                var rest = part.count
                while rest > 0 {
                    slices.append(ReadSlice(zeros: min(rest, Zeros.byteCount)))
                    rest -= min(rest, Zeros.byteCount)
                }
                continue
            }
            let start = Int(part.lowerBound - frame.lowerBound)
            slices.append(ReadSlice(buffer, start..<start + part.count))
            if step.isSequential, part.upperBound == frame.upperBound {
                cache.markSpent(FrameCache.Key(disk: disk.serial, frame: index))
            }
        }
        return slices
    }

    // MARK: Read-ahead

    /// Queues what is absent of the next `window` data frames behind `frame`, as far as the link deserves it.
    private func readAhead(_ disk: OpenDisk, after frame: Int, window: Int) {
        let content = disk.content
        let link = loader.link(of: disk.backup.identifier.backend)
        let depth = link.depth(atLeast: Self.decodedAheadByteCount / 2)
        var keys: [FrameCache.Key] = []
        var nearCount = 0
        var (rawByteCount, archiveByteCount) = (0, 0)
        var next = frame + 1
        // A hole does not count, but looking for its end does not go on for ever: 64 zero frames can be 64 GiB.
        let end = min(content.frameCount, frame + 1 + window + 64)
        while keys.count < window, next < end, archiveByteCount < depth || rawByteCount < Self.decodedAheadByteCount {
            defer { next += 1 }
            guard !content.isHole(next) else { continue }
            keys.append(FrameCache.Key(disk: disk.serial, frame: next))
            rawByteCount += content.range(ofFrame: next).count
            archiveByteCount += content.storedByteCount(ofFrame: next)
            if rawByteCount <= Self.decodedAheadByteCount || nearCount == 0 { nearCount = keys.count }
        }
        guard !keys.isEmpty else { return }
        // Whole requests, so that they stay large as the window slides on frame by frame.
        let frameByteCount = max(1, archiveByteCount / keys.count)
        let requestByteCount = min(FrameLoader.archiveBytesPerRequest, depth / Self.requestsPerDepth)
        let framesPerRequest = max(1, min(requestByteCount / frameByteCount, keys.count / 2))
        let (claimed, loading) = cache.claimAbsent(keys, minimum: framesPerRequest)
        let near = keys[..<nearCount].last?.frame ?? 0
        // What is too little for a request of its own goes with the others: neighbours share a chunk, which is fetched twice.
        let requests = max(1, claimed.count / framesPerRequest)
        let frameLimit = (claimed.count + requests - 1) / requests
        loader.load(claimed, of: disk, isDemand: false, frameLimit: frameLimit) {
            $0.key.frame <= near ? .soon : .later
        }
        for flight in loading where flight.key.frame <= near { loader.want(flight, .soon, of: disk) }
    }

    // MARK: What waiting reads hold

    func mayHold(_ byteCount: Int) -> Bool {
        let (_, now) = heldByteCount.add(byteCount, ordering: .relaxed)
        if now <= cache.capacityByteCount / 4 { return true }
        letGo(of: byteCount)
        return false
    }

    func letGo(of byteCount: Int) { heldByteCount.subtract(byteCount, ordering: .relaxed) }
}
