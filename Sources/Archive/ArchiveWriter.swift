package import AgeFormat
package import CryptoPrimitives
internal import SeekableZstd
internal import Synchronization
package import Workers

/// How an archive is written. The same settings, key material and input give the same bytes.
package struct ArchiveSettings: Sendable, Hashable {
    /// Raw bytes of a data frame: a power of two from 64 KiB to 16 MiB.
    package var frameByteCount: Int
    /// The zstd level.
    package var level: Int32

    package init(frameByteCount: Int = 1 << 20, level: Int32 = 2) {
        self.frameByteCount = frameByteCount
        self.level = level
    }
}

/// The facts of a finished archive.
package struct ArchiveFacts: Sendable {
    package let rawByteCount: UInt64
    package let rawSHA256: SHA256Digest
    package let archiveSHA256: SHA256Digest
    package let access: ArchiveAccess
}

/// Turns raw frames into an archive, with all stages side by side:
///
///     caller → SHA-256(raw)            a serial lane
///            → zstd                    all workers, frame by frame
///              → age + SHA-256(archive)  a serial lane, in the order of the frames
///                → sink                  a thread of its own, for it may block
///
/// Memory is bounded by the buffer pool: a frame's two buffers are taken by the caller, who waits where none is free, and
/// come back when the frame is sealed. What is sealed and not yet in the sink is bounded by `outputLimit`.
///
/// States: *open* (frames come) → *ending* (`finish`) → *finished*; or *failed* at any time, from an error of a stage or from
/// `cancel`. A failed writer drops its work, wakes its caller, and throws the first error from every later call.
/// One thread calls `submit…`, `finish`; any thread may call `cancel`.
package final class ArchiveWriter: Sendable {
    /// Sealed bytes that may wait for the sink before the caller is held back.
    private static let outputLimit = 8 << 20
    /// Zeros that may wait to be hashed; they cost no memory, only time when the caller finishes.
    private static let zeroBacklogLimit: UInt64 = 512 << 20
    private static let zeroJobByteCount: UInt64 = 16 << 20

    /// Frames under way; the buffers hold data frames back long before, so this bounds the zero frames.
    private static let frameLimit = 256

    private struct State {
        /// Frames in their order, not yet sealed.
        var frames: [Frame] = []
        var sealedOutput: [OutputBlock] = []
        var outputByteCount = 0
        var zeroBacklog: UInt64 = 0
        var rawByteCount: UInt64 = 0
        var appendedByteCount: UInt64 = 0
        /// No more output will come; the sink's thread ends when the queue is empty.
        var outputEnded = false
        var sinkEnded = false
        var failure: ArchiveError?
        /// The next frame need not wait, for `awaitRoom` said so.
        var hasPromisedRoom = false

        var hasRoom: Bool {
            (hasPromisedRoom || outputByteCount < outputLimit) && frames.count < frameLimit
        }
    }

    package let settings: ArchiveSettings
    /// The file key of this archive, with which its writer can read it back at once.
    package let fileKey: SecretBytes
    /// The age header and payload nonce: the start of the archive, fixed before the first frame comes.
    package let header: [UInt8]
    private let pool: WorkerPool
    private let buffers: BufferPool
    private let state = Monitor(State())
    private let rawLane: SerialLane
    private let sealLane: SerialLane
    private let rawHasher = LaneOwned(SHA256Hasher())
    private let sealer: Sealer
    private let compressors = Mutex<[CompressorBox]>([])
    private let sinkThread = Mutex<NativeThread?>(nil)
    private let pendingZeroBlocks = Atomic<UInt64>(0)

    /// Writes the header to the sink and takes frames from then on. `buffers` must hold at least two frames and their
    /// compressed form.
    package init(
        settings: ArchiveSettings, recipients: [AgeRecipient], sink: any ArchiveSink, pool: WorkerPool,
        buffers: BufferPool, random: any RandomSource = SystemRandomSource()
    ) throws(ArchiveError) {
        self.settings = settings
        self.pool = pool
        self.buffers = buffers
        rawLane = SerialLane(on: pool, priority: .ordinary)
        sealLane = SerialLane(on: pool, priority: .urgent)
        fileKey = SecretBytes(count: 16) { random.fill($0) }
        var nonce = [UInt8](repeating: 0, count: PayloadLayout.nonceByteCount)
        nonce.withUnsafeMutableBytes { random.fill($0) }
        do throws(AgeError) {
            header = try AgeHeader.make(fileKey: fileKey, recipients: recipients, random: random) + nonce
        } catch {
            throw ArchiveError(error)
        }
        let key = nonce.withUnsafeBytes { [fileKey] in PayloadKey(fileKey: fileKey, nonce: $0) }
        sealer = Sealer(key: key, header: header)
        let thread = NativeThread(name: "archive-sink") { [self] in runSink(sink) }
        sinkThread.withLock { $0 = thread }
    }

    // MARK: Input

    /// A buffer to fill with the next frame. Waits while the pipeline is full. The caller must not hold more buffers than the
    /// pool's cap leaves free.
    package func takeFrameBuffer() throws(ArchiveError) -> Buffer {
        try throwIfFailed()
        return buffers.takeWaiting(byteCount: settings.frameByteCount)
    }

    /// A buffer for the next frame when one is free at once.
    package func takeFrameBufferIfFree() -> Buffer? { buffers.take(byteCount: settings.frameByteCount) }

    /// Waits up to `milliseconds` until a frame can be taken and submitted without waiting; false when it cannot yet. True as
    /// well when nothing is under way that would make room.
    package func awaitRoom(milliseconds: Int) throws(ArchiveError) -> Bool {
        let isIdle: Bool? = state.wait(milliseconds: milliseconds) { state in
            guard state.failure == nil else { return true }
            guard state.hasRoom else { return nil }
            // What is under way fills the output meanwhile.
            state.hasPromisedRoom = true
            return state.outputByteCount == 0 && state.frames.isEmpty
        }
        try throwIfFailed()
        guard let isIdle else { return false }
        if isIdle { return true }
        let byteCount =
            settings.frameByteCount
            + FrameCompressor.destinationByteCount(forRawByteCount: settings.frameByteCount)
        return buffers.awaitRoom(byteCount: byteCount, milliseconds: milliseconds)
    }

    /// Takes the next frame: `count` bytes of `raw`. Only the last frame may be shorter than `frameByteCount`.
    /// Waits while the pipeline is full.
    package func submit(_ raw: Buffer, count: Int) throws(ArchiveError) {
        precondition(count > 0 && count <= settings.frameByteCount, "internal error: a frame of \(count) bytes")
        if count == settings.frameByteCount, raw.prefix(count).isAllZero {
            return try submitZeroBlocks(1)
        }
        try flushZeroRun()
        let compressed = buffers.takeWaiting(
            byteCount: FrameCompressor.destinationByteCount(forRawByteCount: settings.frameByteCount))
        let frame = Frame(raw: raw, rawByteCount: count, compressed: compressed)
        try enqueue(frame, rawByteCount: UInt64(count))
        rawLane.submit { [self] in
            if !hasFailed { rawHasher.value.update(raw.prefix(count)) }
        }
        pool.submit(.ordinary) { [self] in compress(frame) }
    }

    /// Takes `blocks` frames of nothing but zeros. They are never touched, only hashed.
    package func submitZeroBlocks(_ blocks: UInt64) throws(ArchiveError) {
        pendingZeroBlocks.add(blocks, ordering: .relaxed)
        var rest = blocks * UInt64(settings.frameByteCount)
        while rest > 0 {
            let count = min(rest, Self.zeroJobByteCount)
            rest -= count
            try waitForRoom { state in
                guard state.zeroBacklog < Self.zeroBacklogLimit else { return false }
                state.zeroBacklog += count
                state.rawByteCount += count
                return true
            }
            rawLane.submit { [self] in
                if !hasFailed { rawHasher.value.update(zeros: count) }
                state.withLock { $0.zeroBacklog -= count }
            }
        }
    }

    /// Gives the memory at rest back; for a writer that has finished and is kept for what it knows.
    package func releaseBuffers() { buffers.trim() }

    /// Waits until everything submitted so far is with the sink, as far as whole chunks allow. Throws what went wrong.
    package func flush() throws(ArchiveError) {
        try waitForRoom { $0.frames.isEmpty && $0.sealedOutput.isEmpty }
    }

    /// Ends the archive: seek table, last chunk, everything in the sink. Blocks until then. The sink's own end (the
    /// completion of an upload) is the caller's.
    package func finish() throws(ArchiveError) -> ArchiveFacts {
        try flushZeroRun()
        try waitForRoom { $0.frames.isEmpty }
        sealLane.submit { [self] in seal { try sealer.finish(emit: emit) } }
        sealLane.drain()
        rawLane.drain()
        state.withLock { $0.outputEnded = true }
        joinSink()
        try throwIfFailed()
        let rawByteCount = state.withLockQuietly { $0.rawByteCount }
        guard rawByteCount == sealer.table.rawByteCount else {
            preconditionFailure(
                "internal error: \(rawByteCount) raw bytes came, the frames hold \(sealer.table.rawByteCount)")
        }
        let access = ArchiveAccess(header: header, seekTable: sealer.table, archiveByteCount: sealer.archiveByteCount)
        return ArchiveFacts(
            rawByteCount: rawByteCount, rawSHA256: rawHasher.value.finalize(),
            archiveSHA256: sealer.archiveHasher.finalize(), access: access)
    }

    /// Gives the archive up: queued work is dropped, a waiting caller is woken with `.cancelled` (or the error that came
    /// first). Returns when no stage touches the sink any more.
    package func cancel() {
        fail(ArchiveError(.cancelled, "the archive was given up"))
        joinSink()
    }

    /// Raw bytes taken and archive bytes that the sink has taken.
    package var progress: (rawByteCount: UInt64, archiveByteCount: UInt64) {
        state.withLockQuietly { ($0.rawByteCount, $0.appendedByteCount) }
    }

    /// What went wrong, if anything did.
    package var failure: ArchiveError? { state.withLockQuietly { $0.failure } }

    // MARK: Stages

    private func compress(_ frame: Frame) {
        if !hasFailed {
            let box = compressors.withLock { $0.popLast() } ?? CompressorBox(settings)
            do {
                frame.entry = try box.compressor.compress(
                    frame.raw.prefix(frame.rawByteCount), into: frame.compressed.bytes)
            } catch {
                fail(ArchiveError(.frame, "a frame cannot be compressed", cause: error))
            }
            compressors.withLock { $0.append(box) }
        }
        state.withLockQuietly { _ in frame.isCompressed = true }
        sealLane.submit { [self] in sealReadyFrames() }
    }

    /// On the seal lane: seals frames from the head of the queue as far as they are compressed.
    private func sealReadyFrames() {
        while let frame = takeReadyFrame() {
            seal { try sealer.append(frame, emit: emit) }
        }
    }

    private func takeReadyFrame() -> Frame? {
        state.withLock { state in
            guard state.frames.first?.isCompressed == true else { return nil }
            return state.frames.removeFirst()
        }
    }

    private func seal(_ body: () throws -> Void) {
        guard !hasFailed else { return }
        do {
            try body()
        } catch {
            fail(error as? ArchiveError ?? ArchiveError(.frame, "the archive cannot be sealed", cause: error))
        }
    }

    private func emit(_ block: OutputBlock) {
        state.withLock { state in
            state.sealedOutput.append(block)
            state.outputByteCount += block.count
        }
    }

    private func runSink(_ sink: any ArchiveSink) {
        while let block = state.wait(until: Self.nextOutput) {
            do {
                try sink.append(block.bytes)
                state.withLock { state in
                    state.outputByteCount -= block.count
                    state.appendedByteCount += UInt64(block.count)
                }
                sealer.recycle(block)
            } catch {
                fail(ArchiveError(.sink, "the archive cannot be stored", cause: error))
            }
        }
        state.withLock { $0.sinkEnded = true }
    }

    /// `.some(nil)` when the sink's work is over.
    private static func nextOutput(_ state: inout State) -> OutputBlock?? {
        if state.failure != nil { return .some(nil) }
        if !state.sealedOutput.isEmpty { return .some(state.sealedOutput.removeFirst()) }
        return state.outputEnded ? .some(nil) : nil
    }

    private func joinSink() {
        state.wait { $0.sinkEnded ? () : nil }
        sinkThread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: State

    /// A run of zeros is cut into frames when it ends, so that its frames depend on its length alone.
    private func flushZeroRun() throws(ArchiveError) {
        let blocks = pendingZeroBlocks.exchange(0, ordering: .relaxed)
        guard blocks > 0 else { return }
        for rawByteCount in ZeroFrame.decomposition(ofBlocks: blocks, blockByteCount: settings.frameByteCount) {
            let frame = Frame(zeros: rawByteCount)
            try enqueue(frame, rawByteCount: 0)
            sealLane.submit { [self] in sealReadyFrames() }
        }
    }

    private func enqueue(_ frame: Frame, rawByteCount: UInt64) throws(ArchiveError) {
        try waitForRoom { state in
            guard state.hasRoom else { return false }
            if rawByteCount > 0 { state.hasPromisedRoom = false }
            state.frames.append(frame)
            state.rawByteCount += rawByteCount
            return true
        }
    }

    /// Waits until `isDone` is true or the writer has failed.
    private func waitForRoom(_ isDone: (inout State) -> Bool) throws(ArchiveError) {
        let failure: ArchiveError?? = state.wait { state in
            if let failure = state.failure { return .some(failure) }
            return isDone(&state) ? .some(nil) : nil
        }
        if case .some(.some(let failure)) = failure { throw failure }
    }

    private func throwIfFailed() throws(ArchiveError) {
        if let failure { throw failure }
    }

    private var hasFailed: Bool { state.withLockQuietly { $0.failure != nil } }

    private func fail(_ error: ArchiveError) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
    }
}

/// A frame on its way through the writer.
///
/// Safe because: `entry` is written by the one compression job, before `isCompressed` is set under the writer's lock, and
/// read by the seal lane, after it has seen `isCompressed` under that lock.
final class Frame: @unchecked Sendable {
    enum Content {
        case data(raw: Buffer, compressed: Buffer)
        case zeros
    }

    let content: Content
    let rawByteCount: Int
    var entry: SeekTable.Entry
    var isCompressed: Bool

    init(raw: Buffer, rawByteCount: Int, compressed: Buffer) {
        content = .data(raw: raw, compressed: compressed)
        self.rawByteCount = rawByteCount
        entry = SeekTable.Entry(compressedByteCount: 0, rawByteCount: 0, checksum: 0)
        isCompressed = false
    }

    init(zeros rawByteCount: Int) {
        content = .zeros
        self.rawByteCount = rawByteCount
        entry = ZeroFrame.entry(rawByteCount: rawByteCount)
        isCompressed = true
    }

    var raw: Buffer {
        guard case .data(let raw, _) = content else { preconditionFailure("internal error: zeros are not compressed") }
        return raw
    }

    var compressed: Buffer {
        guard case .data(_, let compressed) = content else {
            preconditionFailure("internal error: zeros are not compressed")
        }
        return compressed
    }
}

/// A compressor that one job at a time holds. Safe because: it is in the writer's stack or with one job, never both.
private final class CompressorBox: @unchecked Sendable {
    var compressor: FrameCompressor

    init(_ settings: ArchiveSettings) {
        compressor = FrameCompressor(level: settings.level, maximumRawByteCount: settings.frameByteCount)
    }
}

/// A value that only the jobs of one serial lane touch, and its owner when the lane is drained.
private final class LaneOwned<Value: ~Copyable>: @unchecked Sendable {
    var value: Value

    init(_ value: consuming Value) { self.value = value }
}

extension SHA256Hasher {
    /// Hashes `count` zeros, in pieces that stay in the first-level cache.
    package mutating func update(zeros count: UInt64) {
        let piece = UInt64(16 << 10)
        var rest = count
        while rest > 0 {
            let size = min(rest, piece)
            update(Zeros.prefix(Int(size)))
            rest -= size
        }
    }
}
