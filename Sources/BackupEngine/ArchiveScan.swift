internal import AgeFormat
internal import Archive
package import CryptoPrimitives
internal import SeekableZstd
internal import Workers

/// One pass over an archive from front to back: every byte hashed, every chunk authenticated, every frame decoded, and the
/// raw image hashed in order, with all stages side by side:
///
///     fetch threads: read runs, several at once
///     → this thread, in order → SHA-256(archive)               a serial lane
///                             → decrypt, decompress            all workers, run by run
///                               → SHA-256(raw), handing on     a serial lane, in the order of the runs
///
/// Memory is bounded by the number of runs fetched ahead and under way. A run is under way until whoever was handed its pieces is
/// done with them.
///
/// | what happens to a run | then |
/// |---|---|
/// | it decodes | its pieces go on |
/// | it does not, or cannot be fetched | `ArchiveScan+Recovery`: frame by frame, from the other copies that the source knows |
/// | a frame is lost for good | the error ends the pass; where damage is tolerated, zeros go on in its place, and it is written down |
/// | the target has it already (`supply`) | it is read from there, and fetched after all where it is not what it should be |
package struct ArchiveScan {
    package struct Outcome: Sendable {
        /// nil where not all of the archive was read.
        package let archiveSHA256: SHA256Digest?
        /// nil where bytes of the image were lost.
        package let rawSHA256: SHA256Digest?
        /// What was tolerated, or healed from another copy; in the order of the archive.
        package let damage: [ArchiveDamage]
        package let lostByteCount: UInt64
        package let timings: ScanTimings

        /// Both hashes, where all of archive and image was read.
        package var hashes: Hashes? {
            guard let archiveSHA256, let rawSHA256 else { return nil }
            return Hashes(archiveSHA256: archiveSHA256, rawSHA256: rawSHA256)
        }
    }

    package struct Hashes: Sendable {
        package let archiveSHA256: SHA256Digest
        package let rawSHA256: SHA256Digest
    }

    /// Takes the pieces of a run, which begin at `rawOffset`; runs come in order, one at a time. `done` is called once, on any
    /// thread, when the pieces are not needed any more.
    package typealias Delivery =
        @Sendable (_ rawOffset: UInt64, _ pieces: [RawPiece], _ done: @escaping @Sendable ((any Error)?) -> Void) ->
        Void

    /// How a pass is to be made.
    struct Options: Sendable {
        /// Blocking reads run there, several at once. Without it this thread reads, strictly from front to back.
        var fetchers: WorkerPool?
        /// Goes on past what is lost.
        var toleratesDamage = false
        /// Frames that need not be fetched.
        var supply: (any FrameSupply)?
        /// Gets the raw image.
        var deliver: Delivery?
    }

    /// About how many archive bytes one job takes, and how many frames: 4 MiB of raw data, at least one frame.
    static let archiveBytesPerRun: UInt64 = 4 << 20
    static func framesPerRun(_ table: SeekTable) -> Int {
        max(1, (4 << 20) / max(1, Int(table.maximumDataFrameRawByteCount)))
    }

    private static let runsInFlight = 2 * WorkerPool.processorCount + 2
    /// Stretches that wait for the hash of the archive, which holds their memory.
    private static let stretchesToHash = 6
    /// Blocks for stretches are of one size, for the pool keeps those of each size: 4 MiB, and a chunk cut off at both ends.
    private static let blockByteCount = Int(archiveBytesPerRun) + 2 * PayloadLayout.sealedChunkByteCount
    /// Fetches at once: of 2 MiB each, as half-full images have them, these are twice what a gigabit holds within 100 ms.
    private static let fetchesInFlight = 12

    private struct State {
        var runsInFlight = 0
        var stretchesToHash = 0
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

    /// What comes next in the order of the archive.
    private enum Step {
        case fetch(Fetch)
        /// Frames that the supply has.
        case supplied(FrameRun)
    }

    let reader: ArchiveReader
    let source: any ArchiveSource
    let workers: WorkerPool
    let decoders: FrameDecoderPool
    let options: Options
    let damage = DamageList()
    let memory = BufferPool(capacityByteCount: Int.max / 2)
    let clock = ScanClock()
    private let state = Monitor(State())
    private let archiveLane: SerialLane
    private let rawLane: SerialLane
    private let archiveHasher = ScanHasher()
    private let rawHasher = ScanHasher()
    private let order = InOrder()

    /// Runs the pass. `deliver` gets the raw image, `progress` is called on this thread with the raw bytes read so far. Blocks.
    static func run(
        _ reader: ArchiveReader, source: any ArchiveSource, workers: WorkerPool, decoders: FrameDecoderPool,
        _ options: Options, progress: (UInt64) throws -> Void = { _ in }
    ) throws -> Outcome {
        let scan = ArchiveScan(
            reader: reader, source: source, workers: workers, decoders: decoders, options: options,
            archiveLane: SerialLane(on: workers, priority: .ordinary),
            // The longest stage that cannot be split: whatever it waits for, all wait for.
            rawLane: SerialLane(on: workers, priority: .urgent))
        defer { scan.state.wait { $0.runsInFlight == 0 ? () : nil } }
        let isWhole = try scan.pass(progress)
        let lostByteCount = scan.damage.lostByteCount
        return Outcome(
            archiveSHA256: isWhole ? scan.archiveHasher.finalize() : nil,
            rawSHA256: lostByteCount == 0 ? scan.rawHasher.finalize() : nil, damage: scan.damage.sorted,
            lostByteCount: lostByteCount, timings: scan.clock.timings)
    }

    private init(
        reader: ArchiveReader, source: any ArchiveSource, workers: WorkerPool, decoders: FrameDecoderPool,
        options: Options, archiveLane: SerialLane, rawLane: SerialLane
    ) {
        self.reader = reader
        self.source = source
        self.workers = workers
        self.decoders = decoders
        self.options = options
        self.archiveLane = archiveLane
        self.rawLane = rawLane
    }

    /// Returns whether every byte of the archive was read and hashed.
    private func pass(_ progress: (UInt64) throws -> Void) throws -> Bool {
        let table = reader.seekTable
        let depth = options.fetchers.map { min(Self.fetchesInFlight, $0.threadCount) } ?? 1
        var ahead: [Step] = []
        var fetchedUpTo: UInt64 = 0
        var start = 0
        var hasEnded = false
        var isWhole = options.supply == nil
        var number = 0
        /// What holds the last bytes that came.
        var last: (buffer: Buffer, range: Range<UInt64>)?

        func begin(_ range: Range<UInt64>, _ run: FrameRun?) -> Fetch {
            let known = fetchedUpTo > range.lowerBound ? Int(min(fetchedUpTo, range.upperBound) - range.lowerBound) : 0
            fetchedUpTo = max(fetchedUpTo, range.upperBound)
            return fetch(range, knownByteCount: known, run)
        }

        /// Waits for a stretch, completes it with what was there, and has the rest hashed.
        func end(_ fetch: Fetch) throws -> Buffer {
            let buffer = try fetch.result.wait { $0 }.get()
            let known = fetch.knownByteCount
            if known > 0 {
                guard let last, last.range.contains(fetch.range.lowerBound) else {
                    throw ArchiveError(
                        .source, "the bytes before it could not be read", archiveOffset: fetch.range.lowerBound)
                }
                let from = Int(fetch.range.lowerBound - last.range.lowerBound)
                buffer.bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: last.buffer.bytes[from..<from + known]))
            }
            let count = fetch.range.count
            if known < count {
                last = (buffer, fetch.range)
                guard isWhole else { return buffer }
                state.withLockQuietly { $0.stretchesToHash += 1 }
                archiveLane.submit { [archiveHasher, state] in
                    archiveHasher.update(UnsafeRawBufferPointer(rebasing: buffer.bytes[known..<count]))
                    state.withLock { $0.stretchesToHash -= 1 }
                }
            }
            return buffer
        }

        /// A stretch that may be missing where damage is tolerated, or where there are other copies: nil then.
        func tryEnd(_ fetch: Fetch) throws -> Buffer? {
            do {
                return try end(fetch)
            } catch {
                try checkSourceIsThere(after: error)
                isWhole = false
                last = nil
                return nil
            }
        }

        // The header, up to the first chunk.
        _ = try tryEnd(begin(0..<reader.layout.payload.payloadOffset, nil))
        while true {
            while ahead.count < depth, !hasEnded {
                if start < table.frameCount {
                    let step = nextStep(from: start, begin)
                    start = step.end
                    ahead.append(step.step)
                } else {
                    // The seek table, and the last chunk, which says that this is the end.
                    ahead.append(.fetch(begin(reader.layout.seekTableRun.archiveRange, nil)))
                    hasEnded = true
                }
            }
            let run: FrameRun
            var ciphertext: Buffer?
            let isSupplied: Bool
            switch ahead.removeFirst() {
            case .supplied(let supplied): (run, isSupplied) = (supplied, true)
            case .fetch(let fetch):
                ciphertext = try tryEnd(fetch)
                guard let fetched = fetch.run else {
                    try finish(ciphertext)
                    return isWhole
                }
                (run, isSupplied) = (fetched, false)
            }
            try waitForRoom()
            do {
                try progress(table.rawRange(ofFrame: run.frames.lowerBound).lowerBound)
            } catch {
                state.withLock { $0.runsInFlight -= 1 }
                throw error
            }
            let position = number
            number += 1
            if isSupplied {
                onFetchThread { takeSupplied(run, position) }
            } else if let ciphertext {
                workers.submit(.ordinary) { decode(run, ciphertext, position) }
            } else {
                onFetchThread { recover(run, nil, position) }
            }
        }
    }

    private func nextStep(from start: Int, _ begin: (Range<UInt64>, FrameRun?) -> Fetch) -> (step: Step, end: Int) {
        let table = reader.seekTable
        var limit = table.frameCount
        let isSupplied = options.supply?.has(frame: start) ?? false
        if let supply = options.supply {
            limit = min(limit, start + Self.framesPerRun(table))
            if let change = (start..<limit).first(where: { supply.has(frame: $0) != isSupplied }) { limit = change }
        }
        let run = reader.layout.nextRun(
            from: start, before: limit, Self.framesPerRun(table), Self.archiveBytesPerRun)
        let step = isSupplied ? Step.supplied(run) : .fetch(begin(run.archiveRange, run))
        return (step, run.frames.upperBound)
    }

    /// Starts to read a stretch behind the bytes that are known; on this thread without fetch threads.
    private func fetch(_ range: Range<UInt64>, knownByteCount known: Int, _ run: FrameRun?) -> Fetch {
        let fetch = Fetch(run: run, range: range, knownByteCount: known, result: Monitor(nil))
        onFetchThread { [source, memory, clock] in
            let result = Result<Buffer, any Error> {
                let buffer = memory.takeWaiting(byteCount: max(Self.blockByteCount, range.count))
                if known < range.count {
                    try clock.fetch.measuring {
                        try source.read(
                            at: range.lowerBound + UInt64(known),
                            into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[known..<range.count]))
                    }
                    clock.addFetched(range.count - known)
                }
                return buffer
            }
            fetch.result.withLock { $0 = result }
        }
        return fetch
    }

    func onFetchThread(_ job: @escaping @Sendable () -> Void) {
        if let fetchers = options.fetchers { fetchers.submit(.ordinary, job) } else { job() }
    }

    private func waitForRoom() throws {
        let failure: (any Error)?? = state.wait { state in
            if let failure = state.failure { return .some(failure) }
            guard state.runsInFlight < Self.runsInFlight, state.stretchesToHash < Self.stretchesToHash else {
                return nil
            }
            state.runsInFlight += 1
            return .some(nil)
        }
        if case .some(.some(let failure)) = failure { throw failure }
    }

    // MARK: Runs

    /// On a worker: decodes a run and hands it on in its turn.
    private func decode(_ run: FrameRun, _ ciphertext: Buffer, _ position: Int) {
        guard !hasFailed else { return handOn([], position) }
        do {
            handOn(try clock.decode.measuring { try decode(run, ciphertext) }, position)
        } catch {
            // Other copies are read from, which a worker must not wait for.
            onFetchThread { recover(run, ciphertext, position) }
        }
    }

    var hasFailed: Bool { state.withLockQuietly { $0.failure != nil } }

    func handOn(_ pieces: [RawPiece], _ position: Int) {
        order.deliver(position, pieces) { pieces in
            rawLane.submit {
                // Behind a run that is missing nothing has its place any more.
                guard !hasFailed else { return state.withLock { $0.runsInFlight -= 1 } }
                let rawOffset = rawHasher.rawByteCount
                for piece in pieces { rawHasher.update(piece) }
                guard let deliver = options.deliver, !pieces.isEmpty else {
                    return state.withLock { $0.runsInFlight -= 1 }
                }
                let start = ContinuousClock.now
                deliver(rawOffset, pieces) { error in
                    clock.write.add(ContinuousClock.now - start)
                    if let error { fail(error) }
                    state.withLock { $0.runsInFlight -= 1 }
                }
            }
        }
    }

    func fail(_ error: any Error) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
    }

    /// When everything is decoded: the seek table in the archive must be the one in use. The last chunk is part of it, so a cut
    /// or extended archive does not get here.
    private func finish(_ ciphertext: Buffer?) throws {
        state.wait { $0.runsInFlight == 0 ? () : nil }
        if let failure = state.withLockQuietly({ $0.failure }) { throw failure }
        try checkSeekTable(ciphertext)
        archiveLane.drain()
        rawLane.drain()
    }

    /// Decrypts and decompresses a run, and checks that zero frames really hold zeros.
    private func decode(_ run: FrameRun, _ ciphertext: Buffer) throws -> [RawPiece] {
        try decoders.withDecoder { decoder in
            let stream = try reader.decrypt(run, ciphertext.prefix(run.ciphertextByteCount), with: decoder)
            return try run.frames.map { try piece(ofFrame: $0, of: run, stream, decoder) }
        }
    }

    func piece(
        ofFrame index: Int, of run: FrameRun, _ stream: UnsafeRawBufferPointer, _ decoder: FrameDecoder
    ) throws -> RawPiece {
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
