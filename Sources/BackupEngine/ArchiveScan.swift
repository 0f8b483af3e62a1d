internal import AgeFormat
package import Archive
package import CryptoPrimitives
internal import SeekableZstd
internal import Synchronization
package import Workers

/// One pass over an archive from front to back: every byte hashed, every chunk authenticated, every frame decoded, and the
/// raw image hashed in order, with all stages side by side:
///
///     fetch threads: read runs, several at once
///     → this thread, in order → SHA-256(archive)               a serial lane
///                             → decrypt, decompress            all workers, run by run
///                               → SHA-256(raw), handing on     a serial lane, in the order of the runs
///
/// Memory is bounded by the number of runs fetched ahead and under way; the first error ends the pass. A run is under way until
/// whoever was handed its pieces is done with them.
package struct ArchiveScan {
    package struct Hashes: Sendable {
        package let archiveSHA256: SHA256Digest
        package let rawSHA256: SHA256Digest
    }

    /// Takes the pieces of a run, which begin at `rawOffset`; runs come in order, one at a time. `done` is called once, on any
    /// thread, when the pieces are not needed any more.
    package typealias Delivery =
        @Sendable (_ rawOffset: UInt64, _ pieces: [RawPiece], _ done: @escaping @Sendable ((any Error)?) -> Void) ->
        Void

    /// About how many archive bytes one job takes, and how many frames: 4 MiB of raw data, at least one frame.
    static let archiveBytesPerRun: UInt64 = 4 << 20
    static func framesPerRun(_ table: SeekTable) -> Int {
        max(1, (4 << 20) / max(1, Int(table.maximumDataFrameRawByteCount)))
    }

    private static let runsInFlight = 2 * WorkerPool.processorCount + 2
    /// Fetches at once: of 2 MiB each, as half-full images have them, these are twice what a gigabit holds within 100 ms.
    private static let fetchesInFlight = 12

    private struct State {
        var runsInFlight = 0
        var failure: (any Error)?
    }

    /// A stretch of the archive on its way here.
    private struct Fetch {
        /// nil is the header, or the seek table at the end.
        let run: FrameRun?
        let range: Range<UInt64>
        /// How many bytes at its start the stretches before it have: runs share chunks, and each is fetched once.
        let knownByteCount: Int
        let result: Monitor<Result<Buffer, any Error>?>
    }

    private let reader: ArchiveReader
    private let source: any ArchiveSource
    private let workers: WorkerPool
    private let decoders: FrameDecoderPool
    private let deliver: Delivery?
    private let state = Monitor(State())
    private let memory = BufferPool(capacityByteCount: Int.max / 2)
    private let archiveLane: SerialLane
    private let rawLane: SerialLane
    private let archiveHasher = ScanHasher()
    private let rawHasher = ScanHasher()
    private let order = InOrder()

    /// Runs the pass. `deliver` gets the raw image, `progress` is called on this thread with the raw bytes read so far. Blocks.
    /// Without `fetchers` this thread reads, strictly from front to back.
    package static func run(
        _ reader: ArchiveReader, source: any ArchiveSource, workers: WorkerPool, decoders: FrameDecoderPool,
        fetchers: WorkerPool? = nil, deliver: Delivery? = nil, progress: (UInt64) throws -> Void = { _ in }
    ) throws -> Hashes {
        let scan = ArchiveScan(
            reader: reader, source: source, workers: workers, decoders: decoders, deliver: deliver,
            archiveLane: SerialLane(on: workers, priority: .ordinary),
            rawLane: SerialLane(on: workers, priority: .ordinary))
        defer { scan.state.wait { $0.runsInFlight == 0 ? () : nil } }
        try scan.pass(fetchers, progress)
        return Hashes(archiveSHA256: scan.archiveHasher.finalize(), rawSHA256: scan.rawHasher.finalize())
    }

    private init(
        reader: ArchiveReader, source: any ArchiveSource, workers: WorkerPool, decoders: FrameDecoderPool,
        deliver: Delivery?, archiveLane: SerialLane, rawLane: SerialLane
    ) {
        self.reader = reader
        self.source = source
        self.workers = workers
        self.decoders = decoders
        self.deliver = deliver
        self.archiveLane = archiveLane
        self.rawLane = rawLane
    }

    private func pass(_ fetchers: WorkerPool?, _ progress: (UInt64) throws -> Void) throws {
        let table = reader.seekTable
        let framesPerRun = Self.framesPerRun(table)
        let depth = fetchers.map { min(Self.fetchesInFlight, $0.threadCount) } ?? 1
        var ahead: [Fetch] = []
        var fetchedUpTo: UInt64 = 0
        var start = 0
        var hasEnded = false
        var number = 0
        /// What holds the last bytes that came.
        var last: (buffer: Buffer, range: Range<UInt64>)?

        func begin(_ range: Range<UInt64>, _ run: FrameRun?) -> Fetch {
            let known = Int(min(fetchedUpTo, range.upperBound) - range.lowerBound)
            fetchedUpTo = max(fetchedUpTo, range.upperBound)
            return fetch(range, knownByteCount: known, run, fetchers)
        }

        /// Waits for a stretch, completes it with what was there, and has the rest hashed.
        func end(_ fetch: Fetch) throws -> Buffer {
            let buffer = try fetch.result.wait { $0 }.get()
            let known = fetch.knownByteCount
            if known > 0, let last {
                let from = Int(fetch.range.lowerBound - last.range.lowerBound)
                buffer.bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: last.buffer.bytes[from..<from + known]))
            }
            let count = fetch.range.count
            if known < count {
                last = (buffer, fetch.range)
                archiveLane.submit { [archiveHasher] in
                    archiveHasher.update(UnsafeRawBufferPointer(rebasing: buffer.bytes[known..<count]))
                }
            }
            return buffer
        }

        // The header, up to the first chunk.
        _ = try end(begin(0..<reader.layout.payload.payloadOffset, nil))
        while true {
            while ahead.count < depth, !hasEnded {
                if start < table.frameCount {
                    let run = reader.layout.nextRun(
                        from: start, before: table.frameCount, framesPerRun, Self.archiveBytesPerRun)
                    start = run.frames.upperBound
                    ahead.append(begin(run.archiveRange, run))
                } else {
                    // The seek table, and the last chunk, which says that this is the end.
                    ahead.append(begin(reader.layout.seekTableRun.archiveRange, nil))
                    hasEnded = true
                }
            }
            let next = ahead.removeFirst()
            let ciphertext = try end(next)
            guard let run = next.run else { return try finish(ciphertext) }
            try waitForRoom()
            do {
                try progress(table.rawRange(ofFrame: run.frames.lowerBound).lowerBound)
            } catch {
                state.withLock { $0.runsInFlight -= 1 }
                throw error
            }
            let position = number
            number += 1
            workers.submit(.ordinary) { decode(run, ciphertext, position) }
        }
    }

    /// Starts to read a stretch behind the bytes that are known; on this thread without `fetchers`.
    private func fetch(
        _ range: Range<UInt64>, knownByteCount known: Int, _ run: FrameRun?, _ fetchers: WorkerPool?
    ) -> Fetch {
        let fetch = Fetch(run: run, range: range, knownByteCount: known, result: Monitor(nil))
        let job: @Sendable () -> Void = { [source, memory] in
            let result = Result<Buffer, any Error> {
                let buffer = memory.takeWaiting(byteCount: max(1, range.count))
                if known < range.count {
                    try source.read(
                        at: range.lowerBound + UInt64(known),
                        into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[known..<range.count]))
                }
                return buffer
            }
            fetch.result.withLock { $0 = result }
        }
        if let fetchers { fetchers.submit(.ordinary, job) } else { job() }
        return fetch
    }

    private func waitForRoom() throws {
        let failure: (any Error)?? = state.wait { state in
            if let failure = state.failure { return .some(failure) }
            guard state.runsInFlight < Self.runsInFlight else { return nil }
            state.runsInFlight += 1
            return .some(nil)
        }
        if case .some(.some(let failure)) = failure { throw failure }
    }

    /// On a worker: decodes a run and hands it on in its turn.
    private func decode(_ run: FrameRun, _ ciphertext: Buffer, _ position: Int) {
        let pieces: [RawPiece]
        do {
            pieces = state.withLockQuietly { $0.failure == nil } ? try decode(run, ciphertext) : []
        } catch {
            pieces = []
            fail(error)
        }
        order.deliver(position, pieces) { pieces in
            rawLane.submit {
                let rawOffset = rawHasher.rawByteCount
                for piece in pieces { rawHasher.update(piece) }
                guard let deliver, !pieces.isEmpty else { return state.withLock { $0.runsInFlight -= 1 } }
                deliver(rawOffset, pieces) { error in
                    if let error { fail(error) }
                    state.withLock { $0.runsInFlight -= 1 }
                }
            }
        }
    }

    private func fail(_ error: any Error) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
    }

    /// When everything is decoded: the seek table in the archive must be the one in use.
    private func finish(_ ciphertext: Buffer) throws {
        let tail = reader.layout.seekTableRun
        state.wait { $0.runsInFlight == 0 ? () : nil }
        if let failure = state.withLockQuietly({ $0.failure }) { throw failure }
        try decoders.withDecoder { decoder in
            let stream = try reader.decrypt(tail, ciphertext.prefix(tail.ciphertextByteCount), with: decoder)
            guard stream.elementsEqual(reader.seekTable.serialized()) else {
                throw ArchiveError(
                    .seekTable, "the seek table in the archive differs from the one in use",
                    archiveOffset: tail.archiveRange.lowerBound)
            }
        }
        archiveLane.drain()
        rawLane.drain()
    }

    /// Decrypts and decompresses a run, and checks that zero frames really hold zeros.
    private func decode(_ run: FrameRun, _ ciphertext: Buffer) throws -> [RawPiece] {
        try decoders.withDecoder { decoder in
            let stream = try reader.decrypt(run, ciphertext.prefix(run.ciphertextByteCount), with: decoder)
            return try run.frames.map { index in
                let count = Int(reader.seekTable[index].rawByteCount)
                if reader.seekTable.isZeroFrame(index) {
                    try reader.checkZeroFrame(index, of: run, stream: stream)
                    return .zeros(UInt64(count))
                }
                let raw = memory.takeWaiting(byteCount: max(1, count))
                try reader.decompress(
                    frame: index, of: run, stream: stream, with: decoder,
                    into: UnsafeMutableRawBufferPointer(rebasing: raw.bytes[0..<count]))
                return .data(raw, count)
            }
        }
    }
}

/// What one frame holds.
package enum RawPiece: Sendable {
    /// The first bytes of a buffer, as many as the number says.
    case data(Buffer, Int)
    case zeros(UInt64)

    package var byteCount: UInt64 {
        switch self {
        case .data(_, let count): UInt64(count)
        case .zeros(let count): count
        }
    }
}

/// A hash that only the jobs of one lane touch, and the scan itself when the lane is drained: hence Sendable.
private final class ScanHasher: @unchecked Sendable {
    private var hasher = SHA256Hasher()
    private(set) var rawByteCount: UInt64 = 0

    func update(_ bytes: UnsafeRawBufferPointer) { hasher.update(bytes) }

    func update(_ piece: RawPiece) {
        rawByteCount += piece.byteCount
        switch piece {
        case .data(let buffer, let count): hasher.update(buffer.prefix(count))
        case .zeros(let count): hasher.update(zeros: count)
        }
    }

    func finalize() -> SHA256Digest { hasher.finalize() }
}

/// Hands results on in the order of their numbers, whatever the order they come in.
private final class InOrder: Sendable {
    private struct State {
        var next = 0
        var waiting: [Int: [RawPiece]] = [:]
    }

    private let state = Mutex(State())

    /// `handOn` is called under the lock: it only queues.
    func deliver(_ number: Int, _ pieces: [RawPiece], handOn: ([RawPiece]) -> Void) {
        state.withLock { state in
            state.waiting[number] = pieces
            while let ready = state.waiting.removeValue(forKey: state.next) {
                state.next += 1
                handOn(ready)
            }
        }
    }
}
