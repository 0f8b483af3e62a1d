internal import AgeFormat
internal import Archive
internal import CryptoPrimitives
internal import SeekableZstd
internal import Storage
internal import Workers

/// One pass over a foreign archive from front to back. It does for a plain `zstd | age` file what `ArchiveScan` does for one of
/// ours: every byte is hashed, every chunk authenticated, and the image handed on in order. Only, one thread has to decode, for
/// nothing in a plain stream says where another could begin:
///
///     fetch threads: read stretches, several at once
///     → this thread, in order → SHA-256(archive)       a serial lane
///                             → decrypt, decompress
///                               → SHA-256(raw)         a serial lane
///                               → handing on           this thread: whoever is handed pieces may hold it up
///
/// Memory is bounded: stretches ahead, pieces under way, and the decompressor's window of at most 128 MiB.
///
/// | what happens to a chunk | then |
/// |---|---|
/// | it is not authentic, or cannot be fetched | the other copies that the source knows are tried |
/// | none has it | the error ends the pass; where damage is tolerated, zeros go on in place of all that is left of the image |
final class ForeignScan {
    struct Result {
        let outcome: ArchiveScan.Outcome
        let rawByteCount: UInt64
        /// Outside pieces that are all zeros.
        let dataByteCount: UInt64
    }

    /// 4 MiB of plaintext.
    private static let chunksPerStretch: UInt64 = 64
    private static let stretchesAhead = 6
    private static let piecesInFlight = 8
    /// What is missing at the end is handed on in steps of this size.
    private static let zeroStep: UInt64 = 1 << 30

    private struct Stretch {
        let chunks: Range<UInt64>
        let range: Range<UInt64>
        let result: Monitor<Swift.Result<Buffer, any Error>?>
    }

    private struct Flight {
        var jobs = 0
        var failure: (any Error)?
    }

    private let reader: PayloadReader
    private let header: [UInt8]
    private let source: any ArchiveSource
    private let options: ArchiveScan.Options
    /// nil while nobody knows: the pass that imports finds out.
    private let expectedByteCount: UInt64?
    private let pieceByteCount: Int
    private let memory = BufferPool(capacityByteCount: Int.max / 2)
    private let clock = ScanClock()
    private let damage = DamageList()
    private let flight = Monitor(Flight())
    private let archiveLane: SerialLane
    private let rawLane: SerialLane
    private let archiveHasher = ScanHasher()
    private let rawHasher = ScanHasher()
    private var cipher: PayloadCipher
    private var decompressor = StreamDecompressor()
    private let plaintext = UnsafeMutableRawBufferPointer.allocate(
        byteCount: PayloadLayout.chunkByteCount, alignment: 4096)
    private var piece: Buffer?
    private var filledByteCount = 0
    private var rawByteCount: UInt64 = 0
    private var dataByteCount: UInt64 = 0
    private var isWhole = true

    /// Runs the pass. `header` is what the archive starts with, as it is pinned or was read. `progress` is called on this thread
    /// with raw and archive bytes. Blocks.
    ///
    /// Throws `EngineError` and what source and delivery throw; `.damaged` for what is no zstd stream, or not the one expected.
    static func run(
        _ reader: PayloadReader, header: [UInt8], source: any ArchiveSource, workers: WorkerPool,
        expectedByteCount: UInt64?, pieceByteCount: Int = 1 << 20, _ options: ArchiveScan.Options,
        progress: (_ raw: UInt64, _ archive: UInt64) throws -> Void = { _, _ in }
    ) throws -> Result {
        let scan = ForeignScan(reader, header, source, workers, expectedByteCount, pieceByteCount, options)
        defer { scan.flight.wait { $0.jobs == 0 ? () : nil } }
        do {
            try scan.pass(progress)
        } catch let error as SeekableZstdError {
            throw ArchiveError(error)
        }
        return scan.result
    }

    private init(
        _ reader: PayloadReader, _ header: [UInt8], _ source: any ArchiveSource, _ workers: WorkerPool,
        _ expectedByteCount: UInt64?, _ pieceByteCount: Int, _ options: ArchiveScan.Options
    ) {
        self.reader = reader
        self.header = header
        self.source = source
        self.options = options
        self.expectedByteCount = expectedByteCount
        self.pieceByteCount = pieceByteCount
        cipher = reader.makeCipher()
        archiveLane = SerialLane(on: workers, priority: .ordinary)
        rawLane = SerialLane(on: workers, priority: .urgent)
    }

    deinit {
        plaintext.initializeMemory(as: UInt8.self, repeating: 0)
        plaintext.deallocate()
    }

    private var result: Result {
        let lost = damage.lostByteCount
        return Result(
            outcome: ArchiveScan.Outcome(
                archiveSHA256: isWhole ? archiveHasher.finalize() : nil,
                rawSHA256: lost == 0 ? rawHasher.finalize() : nil, damage: damage.sorted, lostByteCount: lost,
                timings: clock.timings),
            rawByteCount: rawByteCount, dataByteCount: dataByteCount)
    }

    private func pass(_ progress: (UInt64, UInt64) throws -> Void) throws {
        try hashHeader()
        let chunkCount = reader.layout.chunkCount
        let depth = options.fetchers.map { min(Self.stretchesAhead, $0.threadCount) } ?? 1
        var ahead: [Stretch] = []
        var next: UInt64 = 0
        do {
            while next < chunkCount || !ahead.isEmpty {
                while ahead.count < depth, next < chunkCount {
                    let end = min(chunkCount, next + Self.chunksPerStretch)
                    ahead.append(fetch(next..<end))
                    next = end
                }
                let stretch = ahead.removeFirst()
                try decode(stretch)
                try progress(rawByteCount, stretch.range.upperBound)
            }
            try decompressor.finish()
            if let expectedByteCount, rawByteCount + UInt64(filledByteCount) != expectedByteCount {
                throw ArchiveError(
                    .frame,
                    "the stream holds \(rawByteCount + UInt64(filledByteCount)) raw bytes, not \(expectedByteCount)")
            }
            try emit()
        } catch let lost as Lost {
            try giveUp(lost)
        }
        flight.wait { $0.jobs == 0 ? () : nil }
        if let failure = flight.withLockQuietly({ $0.failure }) { throw failure }
        archiveLane.drain()
        rawLane.drain()
    }

    // MARK: Fetching

    private func fetch(_ chunks: Range<UInt64>) -> Stretch {
        let stretch = Stretch(chunks: chunks, range: reader.archiveRange(ofChunks: chunks), result: Monitor(nil))
        let job = { @Sendable [source, memory, clock] in
            let result = Swift.Result<Buffer, any Error> {
                try Self.fetch(stretch.range, from: source, attempt: 0, memory, clock)
            }
            stretch.result.withLock { $0 = result }
        }
        if let fetchers = options.fetchers { fetchers.submit(.ordinary, job) } else { job() }
        return stretch
    }

    private static func fetch(
        _ range: Range<UInt64>, from source: any ArchiveSource, attempt: Int, _ memory: BufferPool, _ clock: ScanClock
    ) throws -> Buffer {
        let buffer = memory.takeWaiting(byteCount: range.count)
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<range.count])
        try clock.fetch.measuring { try source.read(at: range.lowerBound, into: target, attempt: attempt) }
        clock.addFetched(range.count)
        return buffer
    }

    /// The stored header, which need not be the one that opens the archive: whoever compares the hash finds out.
    private func hashHeader() throws {
        do {
            let count = header.count
            let stored = try Self.fetch(0..<UInt64(count), from: source, attempt: 0, memory, clock)
            archiveHasher.update(stored.prefix(count))
        } catch {
            try source.checkIsThere(after: error)
            isWhole = false
        }
    }

    // MARK: Decoding

    /// What no copy has, and no more can be decoded behind.
    private struct Lost: Error {
        let range: Range<UInt64>
        let cause: any Error
    }

    private func decode(_ stretch: Stretch) throws {
        var stored: Buffer?
        do {
            let buffer = try stretch.result.wait { $0 }.get()
            stored = buffer
            let count = stretch.range.count
            archiveLane.submit { [archiveHasher] in archiveHasher.update(buffer.prefix(count)) }
        } catch {
            try source.checkIsThere(after: error)
            isWhole = false
        }
        for chunk in stretch.chunks {
            let range = reader.layout.archiveRange(ofChunk: chunk)
            let count = try open(chunk, range, stored, at: Int(range.lowerBound - stretch.range.lowerBound))
            do {
                try decompress(UnsafeRawBufferPointer(rebasing: plaintext[..<count]))
            } catch let error as SeekableZstdError {
                guard options.toleratesDamage else {
                    throw ArchiveError(error, archiveOffset: range.lowerBound)
                }
                throw Lost(range: range, cause: error)
            }
        }
        // The hash may lag; nobody holds more than these stretches.
        archiveLane.drain()
    }

    /// Decrypts a chunk from the bytes in hand, else from each other copy. Returns its length.
    private func open(_ chunk: UInt64, _ range: Range<UInt64>, _ stored: Buffer?, at start: Int) throws -> Int {
        var bytes = stored.map { UnsafeRawBufferPointer(rebasing: $0.bytes[start..<start + range.count]) }
        var fetched: Buffer?
        var attempt = 0
        var first: (any Error)?
        while true {
            do {
                if bytes == nil { fetched = try Self.fetch(range, from: source, attempt: attempt, memory, clock) }
                let ciphertext = bytes ?? fetched?.prefix(range.count) ?? .init(start: nil, count: 0)
                let count = try clock.decode.measuring {
                    try reader.decrypt(chunk: chunk, ciphertext, with: &cipher, into: plaintext)
                }
                if let first {
                    let end = rawByteCount
                    damage.add(
                        ArchiveDamage(
                            archiveRange: range, frame: nil, rawRange: end..<end, detail: "\(first)", isHealed: true))
                }
                return count
            } catch {
                first = first ?? error
                bytes = nil
                guard let next = source.discard(range, attempt: attempt) else { break }
                attempt = next
            }
        }
        guard let first else { preconditionFailure("internal error: a chunk that failed without an error") }
        try source.checkIsThere(after: first)
        guard options.toleratesDamage else { throw first }
        throw Lost(range: range, cause: first)
    }

    private func decompress(_ stream: UnsafeRawBufferPointer) throws {
        var rest = stream
        while true {
            let buffer = piece ?? memory.takeWaiting(byteCount: pieceByteCount)
            piece = buffer
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[filledByteCount..<pieceByteCount])
            let start = ContinuousClock.now
            let (taken, given) = try decompressor.decompress(rest, into: room)
            clock.decode.add(ContinuousClock.now - start)
            rest = UnsafeRawBufferPointer(rebasing: rest[taken...])
            filledByteCount += given
            if let expectedByteCount, rawByteCount + UInt64(filledByteCount) > expectedByteCount {
                throw SeekableZstdError(.frame, "the stream holds more than \(expectedByteCount) raw bytes")
            }
            if filledByteCount == pieceByteCount {
                try emit()
            } else if rest.isEmpty {
                return
            } else if taken == 0, given == 0 {
                throw SeekableZstdError(.frame, "the stream stands still", streamOffset: decompressor.streamOffset)
            }
        }
    }

    // MARK: Handing on

    /// Hands on what the piece holds.
    private func emit() throws {
        guard let buffer = piece, filledByteCount > 0 else { return }
        let count = filledByteCount
        piece = nil
        filledByteCount = 0
        let isHole = buffer.prefix(count).isAllZero
        if !isHole { dataByteCount += UInt64(count) }
        try emit(isHole ? .zeros(UInt64(count)) : .data(buffer, count), isHashed: true)
    }

    private func emit(_ piece: RawPiece, isHashed: Bool) throws {
        let offset = rawByteCount
        rawByteCount += piece.byteCount
        let jobs = (isHashed ? 1 : 0) + (options.deliver == nil ? 0 : 1)
        let failure: (any Error)?? = flight.wait { state in
            if let failure = state.failure { return .some(failure) }
            guard state.jobs < 2 * Self.piecesInFlight else { return nil }
            state.jobs += jobs
            return .some(nil)
        }
        if case .some(.some(let failure)) = failure { throw failure }
        if isHashed {
            rawLane.submit { [rawHasher, flight] in
                rawHasher.update(piece)
                flight.withLock { $0.jobs -= 1 }
            }
        }
        guard let deliver = options.deliver else { return }
        let start = ContinuousClock.now
        deliver(offset, [piece]) { [clock, flight] error in
            clock.write.add(ContinuousClock.now - start)
            flight.withLock { state in
                if let error, state.failure == nil { state.failure = error }
                state.jobs -= 1
            }
        }
    }

    /// Behind what is lost there is nothing to be had of a plain stream: the rest of the image is zeros.
    private func giveUp(_ lost: Lost) throws {
        try emit()
        let end = expectedByteCount ?? rawByteCount
        isWhole = false
        damage.add(
            ArchiveDamage(
                archiveRange: lost.range, frame: nil, rawRange: rawByteCount..<end,
                detail: "\(lost.cause); this archive has no frames of ours, so nothing behind it can be decoded"))
        while rawByteCount < end, options.deliver != nil {
            try emit(.zeros(min(Self.zeroStep, end - rawByteCount)), isHashed: false)
        }
    }
}

extension ArchiveSource {
    /// A store that is away is no damage: its error ends a pass. One that has lost some bytes still gives others.
    func checkIsThere(after error: any Error) throws {
        guard let cause = ((error as? ArchiveError)?.cause ?? error) as? StorageError, cause.code.mayPassByItself else {
            return
        }
        var byte: UInt8 = 0
        try withUnsafeMutableBytes(of: &byte) { try read(at: 0, into: $0) }
    }
}
