internal import AgeFormat
package import Archive
package import CryptoPrimitives
internal import SeekableZstd
internal import Synchronization
package import Workers

/// One pass over an archive from front to back: every byte hashed, every chunk authenticated, every frame decoded, and the
/// raw image hashed in order, with all stages side by side:
///
///     this thread: read runs in order → SHA-256(archive)   a serial lane
///                                     → decrypt, decompress  all workers, run by run
///                                       → SHA-256(raw)       a serial lane, in the order of the runs
///
/// Memory is bounded by the number of runs in flight; the first error ends the pass.
package struct ArchiveScan {
    package struct Hashes: Sendable {
        package let archiveSHA256: SHA256Digest
        package let rawSHA256: SHA256Digest
    }

    /// About how many archive bytes one job takes, and how many frames: 4 MiB of raw data, at least one frame.
    static let archiveBytesPerRun: UInt64 = 4 << 20
    static func framesPerRun(_ table: SeekTable) -> Int {
        max(1, (4 << 20) / max(1, Int(table.maximumDataFrameRawByteCount)))
    }

    private static let runsInFlight = 2 * WorkerPool.processorCount + 2

    private struct State {
        var runsInFlight = 0
        var failure: (any Error)?
        var rawDone: UInt64 = 0
    }

    /// Runs the pass. `deliver` is called with each frame's raw bytes, in their order, on one thread at a time; `progress` on
    /// this thread with the raw bytes read so far. Blocks.
    package static func run(
        _ reader: ArchiveReader, source: any ArchiveSource, workers: WorkerPool, decoders: FrameDecoderPool,
        deliver: (@Sendable (_ rawOffset: UInt64, RawPiece) throws -> Void)? = nil,
        progress: (UInt64) throws -> Void = { _ in }
    ) throws -> Hashes {
        let state = Monitor(State())
        let archiveLane = SerialLane(on: workers, priority: .ordinary)
        let rawLane = SerialLane(on: workers, priority: .ordinary)
        let archiveHasher = ScanHasher()
        let rawHasher = ScanHasher()
        let order = InOrder()
        let table = reader.seekTable
        let framesPerRun = framesPerRun(table)
        let memory = BufferPool(capacityByteCount: Int.max / 2)
        var hashedUpTo: UInt64 = 0
        var start = 0
        var number = 0

        defer { state.wait { $0.runsInFlight == 0 ? () : nil } }
        /// Reads a stretch of the archive and hashes what was not hashed yet.
        func fetch(_ range: Range<UInt64>) throws -> Buffer {
            let buffer = memory.takeWaiting(byteCount: max(1, range.count))
            try source.read(
                at: range.lowerBound, into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<range.count]))
            let skip = Int(hashedUpTo - range.lowerBound)
            archiveLane.submit {
                archiveHasher.update(UnsafeRawBufferPointer(rebasing: buffer.bytes[skip..<range.count]))
            }
            hashedUpTo = range.upperBound
            return buffer
        }

        // The header, up to the first chunk.
        _ = try fetch(0..<reader.layout.payload.payloadOffset)
        while start < table.frameCount {
            let run = reader.layout.nextRun(from: start, before: table.frameCount, framesPerRun, archiveBytesPerRun)
            start = run.frames.upperBound
            if let failure = state.wait(until: { state -> (any Error)?? in
                if let failure = state.failure { return .some(failure) }
                guard state.runsInFlight < runsInFlight else { return nil }
                state.runsInFlight += 1
                return .some(nil)
            }) {
                throw failure
            }
            let ciphertext: Buffer
            do {
                ciphertext = try fetch(run.archiveRange)
                try progress(table.rawRange(ofFrame: run.frames.lowerBound).lowerBound)
            } catch {
                state.withLock { $0.runsInFlight -= 1 }
                throw error
            }
            let position = number
            number += 1
            workers.submit(.ordinary) {
                let pieces: [RawPiece]
                do {
                    pieces =
                        state.withLockQuietly { $0.failure == nil }
                        ? try decode(run, of: reader, ciphertext.prefix(run.ciphertextByteCount), decoders, memory) : []
                } catch {
                    pieces = []
                    state.withLock { if $0.failure == nil { $0.failure = error } }
                }
                order.deliver(position, pieces) { pieces in
                    rawLane.submit {
                        do {
                            for piece in pieces {
                                rawHasher.update(piece)
                                try deliver?(rawHasher.rawByteCount - piece.byteCount, piece)
                            }
                        } catch {
                            state.withLock { if $0.failure == nil { $0.failure = error } }
                        }
                        state.withLock { $0.runsInFlight -= 1 }
                    }
                }
            }
        }
        // The seek table, and the last chunk, which says that this is the end.
        let tail = reader.layout.seekTableRun
        let ciphertext = try fetch(tail.archiveRange)
        state.wait { $0.runsInFlight == 0 ? () : nil }
        if let failure = state.withLockQuietly({ $0.failure }) { throw failure }
        try decoders.withDecoder { decoder in
            let stream = try reader.decrypt(tail, ciphertext.prefix(tail.ciphertextByteCount), with: decoder)
            guard stream.elementsEqual(table.serialized()) else {
                throw ArchiveError(
                    .seekTable, "the seek table in the archive differs from the one in use",
                    archiveOffset: tail.archiveRange.lowerBound)
            }
        }
        archiveLane.drain()
        rawLane.drain()
        return Hashes(archiveSHA256: archiveHasher.finalize(), rawSHA256: rawHasher.finalize())
    }

    /// Decrypts and decompresses a run, and checks that zero frames really hold zeros.
    private static func decode(
        _ run: FrameRun, of reader: ArchiveReader, _ ciphertext: UnsafeRawBufferPointer, _ decoders: FrameDecoderPool,
        _ memory: BufferPool
    ) throws -> [RawPiece] {
        try decoders.withDecoder { decoder in
            let stream = try reader.decrypt(run, ciphertext, with: decoder)
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
