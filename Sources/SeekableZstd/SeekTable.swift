/// The seek table of the zstd seekable format 0.1.0: the sizes and checksums of all frames, in their order.
///
/// Compact: 12 bytes for each frame and a checkpoint of offsets for every 64 of them (the table of a full 1 TiB disk takes
/// 13 MiB). A frame is found by binary search over checkpoints, then by a short walk.
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

    private var entries: [Entry] = []
    private var checkpoints: [Checkpoint] = []
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

    package mutating func append(_ entry: Entry) {
        if entries.count % Self.checkpointDistance == 0 {
            checkpoints.append(Checkpoint(rawOffset: rawByteCount, streamOffset: compressedByteCount))
        }
        entries.append(entry)
        rawByteCount += UInt64(entry.rawByteCount)
        compressedByteCount += UInt64(entry.compressedByteCount)
        maximumFrameRawByteCount = max(maximumFrameRawByteCount, entry.rawByteCount)
        if !Self.isZeroFrame(entry) {
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

    // MARK: Holes

    /// Whether a frame is a canonical zero frame: told from its entry alone.
    package func isZeroFrame(_ index: Int) -> Bool { Self.isZeroFrame(entries[index]) }

    static func isZeroFrame(_ entry: Entry) -> Bool {
        let size = Int(entry.rawByteCount)
        return ZeroFrame.exists(rawByteCount: size) && entry == ZeroFrame.entry(rawByteCount: size)
    }

    /// The first raw offset from `offset` on that holds data; nil where there is only a hole left.
    package func nextData(at offset: UInt64) -> UInt64? {
        guard offset < rawByteCount else { return nil }
        var index = frameIndex(containingRawOffset: offset)
        var start = rawRange(ofFrame: index).lowerBound
        while index < entries.count {
            if !isZeroFrame(index) { return max(offset, start) }
            start += UInt64(entries[index].rawByteCount)
            index += 1
        }
        return nil
    }

    /// The first raw offset from `offset` on that lies in a hole; the end of the image counts as one.
    package func nextHole(at offset: UInt64) -> UInt64 {
        guard offset < rawByteCount else { return rawByteCount }
        var index = frameIndex(containingRawOffset: offset)
        var start = rawRange(ofFrame: index).lowerBound
        while index < entries.count {
            if isZeroFrame(index) { return max(offset, start) }
            start += UInt64(entries[index].rawByteCount)
            index += 1
        }
        return rawByteCount
    }

    package static func == (left: SeekTable, right: SeekTable) -> Bool { left.entries == right.entries }
}

// MARK: The table in the stream

/// All integers are little-endian. A skippable frame: magic number 0x184D2A5E, size of what follows, 12 bytes for each frame
/// (compressed size, raw size, checksum), then the footer: number of frames, descriptor (0x80: with checksums), 0x8F92EAB1.
extension SeekTable {
    package static let footerByteCount = 9
    private static let headerByteCount = 8
    private static let entryByteCount = 12
    private static let skippableMagic: UInt32 = 0x184D_2A5E
    private static let seekableMagic: UInt32 = 0x8F92_EAB1
    private static let checksumFlag: UInt8 = 0x80
    /// The reference implementation's limit on frames.
    package static let maximumFrameCount = 0x800_0000
    /// Tables beyond this are refused: 16 Mi frames are 16 TiB at 1 MiB each.
    package static let maximumByteCount = byteCount(ofFrames: 16 << 20)

    static func byteCount(ofFrames count: Int) -> Int { headerByteCount + count * entryByteCount + footerByteCount }

    /// The whole skippable frame.
    package func serialized() -> [UInt8] {
        let size = Self.byteCount(ofFrames: frameCount)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        func append(_ value: UInt32) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
        append(Self.skippableMagic)
        append(UInt32(size - Self.headerByteCount))
        for entry in entries {
            append(entry.compressedByteCount)
            append(entry.rawByteCount)
            append(entry.checksum)
        }
        append(UInt32(frameCount))
        bytes.append(Self.checksumFlag)
        append(Self.seekableMagic)
        return bytes
    }

    /// The size of the whole skippable frame, from the last nine bytes of the stream. Bounded before anything is allocated.
    package static func byteCount(
        parsingFooter footer: UnsafeRawBufferPointer, streamByteCount: UInt64
    ) throws(SeekableZstdError) -> Int {
        guard footer.count == footerByteCount else {
            throw SeekableZstdError(.seekTable, "the footer of the seek table is cut short")
        }
        guard integer(footer, 5) == seekableMagic else {
            throw SeekableZstdError(.seekTable, "the stream does not end with a seek table")
        }
        let descriptor = footer[4]
        guard descriptor & checksumFlag != 0 else {
            throw SeekableZstdError(.seekTable, "the seek table has no checksums")
        }
        guard descriptor == checksumFlag else {
            throw SeekableZstdError(.seekTable, "the seek table has unknown flags")
        }
        let count = Int(integer(footer, 0))
        guard count <= maximumFrameCount, byteCount(ofFrames: count) <= maximumByteCount else {
            throw SeekableZstdError(.seekTable, "the seek table lists \(count) frames, more than are taken")
        }
        let size = byteCount(ofFrames: count)
        guard UInt64(size) <= streamByteCount else {
            throw SeekableZstdError(.seekTable, "the seek table is larger than the stream")
        }
        return size
    }

    /// Parses the whole skippable frame at the end of a stream. Every sum must fit; a data frame larger than
    /// `maximumDataFrameRawByteCount` is refused, for a reader must have memory for it.
    package init(
        parsing frame: UnsafeRawBufferPointer, streamByteCount: UInt64, maximumDataFrameRawByteCount: Int
    ) throws(SeekableZstdError) {
        self.init()
        guard frame.count >= Self.headerByteCount + Self.footerByteCount else {
            throw SeekableZstdError(.seekTable, "the seek table is cut short")
        }
        let footer = UnsafeRawBufferPointer(rebasing: frame.suffix(Self.footerByteCount))
        let size = try Self.byteCount(parsingFooter: footer, streamByteCount: streamByteCount)
        guard size == frame.count, Self.integer(frame, 0) == Self.skippableMagic,
            Int(Self.integer(frame, 4)) == size - Self.headerByteCount
        else { throw SeekableZstdError(.seekTable, "the seek table's frame does not fit its footer") }
        let count = Int(Self.integer(footer, 0))
        entries.reserveCapacity(count)
        for index in 0..<count {
            let position = Self.headerByteCount + index * Self.entryByteCount
            let entry = Entry(
                compressedByteCount: Self.integer(frame, position), rawByteCount: Self.integer(frame, position + 4),
                checksum: Self.integer(frame, position + 8))
            // A frame has at least a magic number, a header of two bytes and a block of three.
            guard entry.compressedByteCount >= 9, entry.rawByteCount > 0 else {
                throw SeekableZstdError(.seekTable, "frame \(index) is empty", frameIndex: index)
            }
            guard Int(entry.rawByteCount) <= maximumDataFrameRawByteCount || Self.isZeroFrame(entry) else {
                throw SeekableZstdError(
                    .seekTable, "frame \(index) claims \(entry.rawByteCount) bytes, more than are taken", frameIndex: index)
            }
            append(entry)
        }
        // No sum overflows: at most 2^27 frames of less than 2^32 bytes.
        guard compressedByteCount + UInt64(size) == streamByteCount else {
            throw SeekableZstdError(
                .seekTable,
                "the seek table lists \(compressedByteCount) bytes of frames, the stream has \(streamByteCount - UInt64(size))")
        }
    }

    private static func integer(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}
