package import AgeFormat
package import SeekableZstd

/// All offset arithmetic of an archive: raw bytes ↔ frames ↔ stream bytes (zstd) ↔ chunks ↔ archive bytes (age).
///
/// A value without I/O. Raw offsets count bytes of the disk, stream offsets bytes of the zstd stream, archive offsets bytes
/// of the object at the backend.
package struct ArchiveLayout: Sendable {
    package let payload: PayloadLayout
    package let seekTable: SeekTable

    /// Throws `.seekTable` when the table does not fit the size of the payload.
    package init(payload: PayloadLayout, seekTable: SeekTable) throws(ArchiveError) {
        guard seekTable.streamByteCount == payload.plaintextByteCount else {
            throw ArchiveError(
                .seekTable,
                "the seek table describes a stream of \(seekTable.streamByteCount) bytes, "
                    + "the archive holds \(payload.plaintextByteCount)")
        }
        self.payload = payload
        self.seekTable = seekTable
    }

    /// The part of the archive that holds these frames, whole chunks of it. The range of frames must not be empty.
    package func run(ofFrames frames: Range<Int>) -> FrameRun {
        let first = seekTable.streamRange(ofFrame: frames.lowerBound)
        let last = seekTable.streamRange(ofFrame: frames.upperBound - 1)
        return run(frames: frames, streamRange: first.lowerBound..<last.upperBound)
    }

    /// The part of the archive that holds the seek table.
    package var seekTableRun: FrameRun {
        let end = seekTable.frameCount
        return run(frames: end..<end, streamRange: seekTable.compressedByteCount..<seekTable.streamByteCount)
    }

    private func run(frames: Range<Int>, streamRange: Range<UInt64>) -> FrameRun {
        let chunks = payload.chunks(covering: streamRange)
        let start = payload.archiveRange(ofChunk: chunks.lowerBound).lowerBound
        let end = payload.archiveRange(ofChunk: chunks.upperBound - 1).upperBound
        return FrameRun(frames: frames, streamRange: streamRange, chunks: chunks, archiveRange: start..<end)
    }

    /// Cuts frames into runs of at most `frameLimit` frames and about `archiveByteLimit` bytes (at least one frame each).
    package func runs(
        ofFrames frames: Range<Int>, frameLimit: Int, archiveByteLimit: UInt64
    ) -> [FrameRun] {
        var runs: [FrameRun] = []
        var start = frames.lowerBound
        while start < frames.upperBound {
            let run = nextRun(from: start, before: frames.upperBound, frameLimit, archiveByteLimit)
            runs.append(run)
            start = run.frames.upperBound
        }
        return runs
    }

    /// The longest run from `start` on that keeps the limits; at least one frame.
    package func nextRun(
        from start: Int, before end: Int, _ frameLimit: Int, _ archiveByteLimit: UInt64
    ) -> FrameRun {
        let streamStart = seekTable.streamRange(ofFrame: start).lowerBound
        var next = start + 1
        while next < end, next - start < frameLimit,
            seekTable.streamRange(ofFrame: next).upperBound - streamStart <= archiveByteLimit
        {
            next += 1
        }
        return run(ofFrames: start..<next)
    }
}

/// Consecutive frames together with the whole chunks that hold them: what one request fetches.
package struct FrameRun: Sendable, Hashable {
    package let frames: Range<Int>
    package let streamRange: Range<UInt64>
    package let chunks: Range<UInt64>
    package let archiveRange: Range<UInt64>

    package var ciphertextByteCount: Int { archiveRange.count }
}
