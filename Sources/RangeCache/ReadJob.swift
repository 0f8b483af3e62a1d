internal import Workers

/// One read of the cache's disk: entries and data of the slots that a request touches. Made by the caller, done by a reader
/// thread, looked at by the caller again; the memory is the job's own, so a caller may give up and leave at any time.
final class ReadJob: Sendable {
    /// What is read of one slot.
    struct Piece: Sendable {
        let slot: UInt32
        let generation: UInt32
        let part: SegmentPart
        /// From the first block that is there to the last, within those that the part touches.
        let blocks: Range<Int>
        let entryOffset: Int
        let dataOffset: Int
    }

    enum Phase: Sendable { case waiting, done, failed }

    let pieces: [Piece]
    let buffer: Buffer
    let entryByteCount: Int
    private let phase = Monitor(Phase.waiting)

    init(pieces: [Piece], buffer: Buffer, entryByteCount: Int) {
        self.pieces = pieces
        self.buffer = buffer
        self.entryByteCount = entryByteCount
    }

    func end(_ result: Phase) { phase.withLock { $0 = result } }

    /// Nil when the time is over first.
    func wait(milliseconds: Int) -> Phase? {
        phase.wait(milliseconds: milliseconds) { phase -> Phase? in
            if case .waiting = phase { nil } else { phase }
        }
    }

    /// The entry's bytes. Only after `wait` gave `.done`.
    func entry(of piece: Piece) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(buffer.bytes.part(piece.entryOffset..<piece.entryOffset + entryByteCount))
    }

    /// Bytes of a block, counted from its start. Only after `wait` gave `.done`.
    func bytes(of piece: Piece, block: Int, _ range: Range<Int>) -> UnsafeRawBufferPointer {
        let start = piece.dataOffset + (block - piece.blocks.lowerBound) * CacheGeometry.blockByteCount
        return UnsafeRawBufferPointer(buffer.bytes.part(start + range.lowerBound..<start + range.upperBound))
    }
}

/// What the writer thread does, in order.
enum WriteJob: Sendable {
    /// The first bytes of the buffer are the archive's from this grid range.
    case insert(CachedArchive, Range<UInt64>, Buffer)
    /// Blocks that turned out bad: out of the index, after whatever insert of them is queued.
    case forget(CachedArchive, Range<UInt64>)
    /// Open the disk, or see whether it answers again.
    case revive
}
