/// The table in the stream: a skippable frame of a header, 12 bytes for each frame, and a footer, all little-endian. The field
/// tables are in SeekableZstd.md.
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

    /// A frame with a checksum has at least a magic number of 4 bytes, a header of 2, one block of 3 + 1, and the checksum of 4.
    private static let minimumFrameByteCount = 14

    /// No compressor that we know of makes frames that are larger: `ZSTD_compressBound` adds 1/256 and 64 bytes at most. Twice
    /// that and some more is taken; a reader needs memory for the compressed frame too.
    private static func maximumFrameByteCount(forRawByteCount count: UInt32) -> UInt64 {
        UInt64(count) + UInt64(count) / 128 + 1024
    }

    static func byteCount(ofFrames count: Int) -> Int { headerByteCount + count * entryByteCount + footerByteCount }

    /// The whole skippable frame.
    package func serialized() -> [UInt8] {
        let size = Self.byteCount(ofFrames: frameCount)
        return [UInt8](unsafeUninitializedCapacity: size) { bytes, count in
            func put(_ value: UInt32) {
                UnsafeMutableRawBufferPointer(bytes).storeBytes(
                    of: value.littleEndian, toByteOffset: count, as: UInt32.self)
                count += 4
            }
            put(Self.skippableMagic)
            put(UInt32(size - Self.headerByteCount))
            for entry in entries {
                put(entry.compressedByteCount)
                put(entry.rawByteCount)
                put(entry.checksum)
            }
            put(UInt32(frameCount))
            bytes[count] = Self.checksumFlag
            count += 1
            put(Self.seekableMagic)
        }
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
            guard entry.rawByteCount > 0, entry.compressedByteCount >= Self.minimumFrameByteCount else {
                throw SeekableZstdError(
                    .seekTable, "frame \(index) is empty", streamOffset: compressedByteCount, frameIndex: index)
            }
            guard Int(entry.rawByteCount) <= maximumDataFrameRawByteCount || Self.isZeroFrame(entry) else {
                throw SeekableZstdError(
                    .seekTable, "frame \(index) claims \(entry.rawByteCount) raw bytes, more than are taken",
                    streamOffset: compressedByteCount, frameIndex: index)
            }
            guard UInt64(entry.compressedByteCount) <= Self.maximumFrameByteCount(forRawByteCount: entry.rawByteCount)
            else {
                throw SeekableZstdError(
                    .seekTable,
                    "frame \(index) claims \(entry.compressedByteCount) bytes for \(entry.rawByteCount) raw bytes",
                    streamOffset: compressedByteCount, frameIndex: index)
            }
            append(entry)
        }
        // No sum overflows: at most 2^27 frames of less than 2^32 bytes.
        guard compressedByteCount + UInt64(size) == streamByteCount else {
            throw SeekableZstdError(
                .seekTable,
                "the seek table lists \(compressedByteCount) bytes of frames, the stream has \(streamByteCount - UInt64(size))",
                streamOffset: streamByteCount - UInt64(size))
        }
    }

    private static func integer(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}
