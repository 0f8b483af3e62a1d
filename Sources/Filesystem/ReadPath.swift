internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Logging
internal import ReadTrace
internal import SeekableZstd
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
    private static let requestsPerDepth = 5

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

    /// Starts a read of raw bytes; the range must lie inside the image and not be empty.
    func read(
        _ range: Range<UInt64>, of disk: OpenDisk, planner: borrowing Mutex<ReadAheadPlanner>
    ) -> ReadStart {
        let table = disk.table
        let first = table.frameIndex(containingRawOffset: range.lowerBound)
        var last = first
        while table.rawRange(ofFrame: last).upperBound < range.upperBound { last += 1 }
        let frames = first...last
        trace?.note(
            disk.pathInTree, frames.lazy.filter { !table.isZeroFrame($0) }.map { ($0, table.rawRange(ofFrame: $0)) })
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
        let data = frames.filter { !disk.table.isZeroFrame($0) }
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
            let frame = disk.table.rawRange(ofFrame: index)
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

    // MARK: Archives

    /// Starts a read of an archive as it is stored; the range must lie inside it.
    func read(_ range: Range<UInt64>, ofArchive disk: OpenDisk) -> ReadStart {
        let identifier = disk.backup.identifier
        let link = loader.link(of: identifier.backend)
        let answer = PendingRead(over: link, of: pending)
        pending.add(answer)
        let isQueued = loader.submit(.urgent, to: link) { [engine] in
            guard !answer.isOver else { return }
            guard let memory = link.memory.take(range.count, milliseconds: FrameLoader.patienceMilliseconds) else {
                answer.end(.failure(FileSystemError(.noMemory, "the memory budget has no room to read")))
                return
            }
            do {
                try link.measuring(byteCount: range.count) {
                    try disk.backup.source.read(at: range.lowerBound, into: memory.bytes)
                }
                answer.end(.success([ReadSlice(memory, memory.bytes)]))
            } catch {
                engine.log.error("\(identifier): the archive cannot be read at \(range.lowerBound): \(error)")
                answer.end(.failure(FileSystemError(reading: error, identifier)))
            }
        }
        if !isQueued { answer.end(PendingReads.closing) }
        return .pending(answer)
    }

    // MARK: Read-ahead

    /// Queues what is absent of the next `window` data frames behind `frame`, as far as the link deserves it.
    private func readAhead(_ disk: OpenDisk, after frame: Int, window: Int) {
        let table = disk.table
        let link = loader.link(of: disk.backup.identifier.backend)
        let depth = link.depth(atLeast: Self.decodedAheadByteCount / 2)
        var keys: [FrameCache.Key] = []
        var nearCount = 0
        var (rawByteCount, archiveByteCount) = (0, 0)
        var next = frame + 1
        // A hole does not count, but looking for its end does not go on for ever: 64 zero frames can be 64 GiB.
        let end = min(table.frameCount, frame + 1 + window + 64)
        while keys.count < window, next < end, archiveByteCount < depth || rawByteCount < Self.decodedAheadByteCount {
            defer { next += 1 }
            guard !table.isZeroFrame(next) else { continue }
            keys.append(FrameCache.Key(disk: disk.serial, frame: next))
            rawByteCount += Int(table[next].rawByteCount)
            archiveByteCount += Int(table[next].compressedByteCount)
            if rawByteCount <= Self.decodedAheadByteCount || nearCount == 0 { nearCount = keys.count }
        }
        guard !keys.isEmpty else { return }
        // Whole requests, so that they stay large as the window slides on frame by frame.
        let frameByteCount = max(1, archiveByteCount / keys.count)
        let requestByteCount = min(FrameLoader.archiveBytesPerRequest, depth / Self.requestsPerDepth)
        let framesPerRequest = max(1, min(requestByteCount / frameByteCount, keys.count / 2))
        let (claimed, loading) = cache.claimAbsent(keys, minimum: framesPerRequest)
        let near = keys[..<nearCount].last?.frame ?? 0
        loader.load(claimed, of: disk, isDemand: false, byteLimit: framesPerRequest * frameByteCount) {
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
