/// The seek table of the zstd seekable format 0.1.0: the sizes and checksums of all frames, in their order.
///
/// Compact: 12 bytes for each frame, a checkpoint of offsets for every 64 of them, 4 bytes for each change between data and
/// hole (the table of a full 1 TiB disk takes 13 MiB, with a hole between any two frames 17 MiB). A frame is found by binary
/// search over checkpoints, then by a short walk; the end of a run of data or of zeros by binary search, however long it is.
package struct SeekTable: Sendable, Equatable {
    package struct Entry: Hashable, Sendable {
        package var compressedByteCount: UInt32
        package var rawByteCount: UInt32
        /// The low 32 bits of XXH64 of the raw bytes.
        package var checksum: UInt32

        package init(compressedByteCount: UInt32, rawByteCount: UInt32, checksum: UInt32) {
            self.compressedByteCount = compressedByteCount
            self.rawByteCount = rawByteCount
            self.checksum = checksum
        }
    }

    private struct Checkpoint: Equatable {
        var rawOffset: UInt64
        var streamOffset: UInt64
    }

    private static let checkpointDistance = 64

    var entries: [Entry] = []
    private var checkpoints: [Checkpoint] = []
    /// The first frame of each run of frames of one kind, data or zeros by turns; the first run's kind is its first frame's.
    private(set) var runStarts: [UInt32] = []
    package private(set) var rawByteCount: UInt64 = 0
    /// The bytes of all frames before the table.
    package private(set) var compressedByteCount: UInt64 = 0
    /// Raw bytes outside zero frames.
    package private(set) var dataByteCount: UInt64 = 0
    /// The raw size of the largest frame.
    package private(set) var maximumFrameRawByteCount: UInt32 = 0
    /// The raw size of the largest frame that is no zero frame.
    package private(set) var maximumDataFrameRawByteCount: UInt32 = 0

    package init() {}

    /// Traps at `maximumFrameCount`, which the format cannot exceed.
    package mutating func append(_ entry: Entry) {
        precondition(entries.count < Self.maximumFrameCount, "internal error: more frames than a seek table can list")
        if entries.count % Self.checkpointDistance == 0 {
            checkpoints.append(Checkpoint(rawOffset: rawByteCount, streamOffset: compressedByteCount))
        }
        let isZero = Self.isZeroFrame(entry)
        if entries.last.map(Self.isZeroFrame) != isZero { runStarts.append(UInt32(entries.count)) }
        entries.append(entry)
        rawByteCount += UInt64(entry.rawByteCount)
        compressedByteCount += UInt64(entry.compressedByteCount)
        maximumFrameRawByteCount = max(maximumFrameRawByteCount, entry.rawByteCount)
        if !isZero {
            dataByteCount += UInt64(entry.rawByteCount)
            maximumDataFrameRawByteCount = max(maximumDataFrameRawByteCount, entry.rawByteCount)
        }
    }

    package var frameCount: Int { entries.count }
    package subscript(index: Int) -> Entry { entries[index] }

    /// Frames and table together.
    package var streamByteCount: UInt64 { compressedByteCount + UInt64(Self.byteCount(ofFrames: frameCount)) }

    package func rawRange(ofFrame index: Int) -> Range<UInt64> {
        let start = offsets(ofFrame: index).rawOffset
        return start..<start + UInt64(entries[index].rawByteCount)
    }

    package func streamRange(ofFrame index: Int) -> Range<UInt64> {
        let start = offsets(ofFrame: index).streamOffset
        return start..<start + UInt64(entries[index].compressedByteCount)
    }

    /// The frame that holds a raw byte, which must exist.
    package func frameIndex(containingRawOffset offset: UInt64) -> Int {
        precondition(offset < rawByteCount, "internal error: a raw offset behind the end")
        var low = 0
        var high = checkpoints.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if checkpoints[middle].rawOffset <= offset { low = middle } else { high = middle }
        }
        var index = low * Self.checkpointDistance
        var end = checkpoints[low].rawOffset + UInt64(entries[index].rawByteCount)
        while end <= offset {
            index += 1
            end += UInt64(entries[index].rawByteCount)
        }
        return index
    }

    private func offsets(ofFrame index: Int) -> Checkpoint {
        let number = index / Self.checkpointDistance
        var offsets = checkpoints[number]
        for position in number * Self.checkpointDistance..<index {
            offsets.rawOffset += UInt64(entries[position].rawByteCount)
            offsets.streamOffset += UInt64(entries[position].compressedByteCount)
        }
        return offsets
    }

    package static func == (left: SeekTable, right: SeekTable) -> Bool { left.entries == right.entries }
}
