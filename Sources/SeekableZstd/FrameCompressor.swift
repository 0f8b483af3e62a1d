internal import CZstd

/// Compresses raw blocks to independent zstd frames, each with its content size and checksum. The same input and settings
/// give the same bytes with the same libzstd.
///
/// One thread at a time. The context is reused: after the first frame of the largest size nothing is allocated.
package struct FrameCompressor: ~Copyable {
    private let context: OpaquePointer
    private let maximumRawByteCount: Int

    /// A compressor for frames of at most `maximumRawByteCount` raw bytes, which bounds its memory. Traps for a level that
    /// libzstd does not know; the configuration checks it.
    package init(level: Int32, maximumRawByteCount: Int) {
        precondition(
            maximumRawByteCount > 0 && maximumRawByteCount <= Int(UInt32.max),
            "internal error: frames of \(maximumRawByteCount) bytes")
        precondition(level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel(), "internal error: zstd level \(level)")
        guard let context = ZSTD_createCCtx() else { preconditionFailure("internal error: no zstd context") }
        self.context = context
        self.maximumRawByteCount = maximumRawByteCount
        for (parameter, value) in [
            (ZSTD_c_compressionLevel, level), (ZSTD_c_checksumFlag, 1), (ZSTD_c_contentSizeFlag, 1),
        ] {
            precondition(
                ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0, "internal error: zstd parameter")
        }
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Room for any frame of that many raw bytes, the one of raw blocks included.
    package static func destinationByteCount(forRawByteCount count: Int) -> Int {
        max(ZSTD_compressBound(count), RawBlockFrame.byteCount(forRawByteCount: count))
    }

    /// Compresses `raw`, which must not be empty, and returns its entry for the seek table.
    ///
    /// Data that is not zero must never look like a zero frame in the seek table: where its size and checksum happen
    /// to be those of one, the frame is written with raw blocks, which has another size.
    package mutating func compress(
        _ raw: UnsafeRawBufferPointer, into destination: UnsafeMutableRawBufferPointer
    ) throws(SeekableZstdError) -> SeekTable.Entry {
        precondition(raw.count > 0 && raw.count <= maximumRawByteCount, "internal error: a frame of \(raw.count) bytes")
        // ZSTD_compress2 takes the size of `raw` as the pledged size, so it fits tables and window to a last short frame.
        let size = ZSTD_compress2(context, destination.baseAddress, destination.count, raw.baseAddress, raw.count)
        guard ZSTD_isError(size) == 0 else {
            throw SeekableZstdError(.compressor, String(cString: ZSTD_getErrorName(size)))
        }
        let entry = SeekTable.Entry(
            compressedByteCount: UInt32(size), rawByteCount: UInt32(raw.count),
            checksum: UInt32(littleEndian: destination.loadUnaligned(fromByteOffset: size - 4, as: UInt32.self)))
        return Self.distinguishedFromZeroFrames(entry, raw, in: destination)
    }

    /// The entry as it is, unless it is a zero frame's and `raw` is not zero: then the frame is written anew.
    static func distinguishedFromZeroFrames(
        _ entry: SeekTable.Entry, _ raw: UnsafeRawBufferPointer, in destination: UnsafeMutableRawBufferPointer
    ) -> SeekTable.Entry {
        guard SeekTable.isZeroFrame(entry), raw.contains(where: { $0 != 0 }) else { return entry }
        return RawBlockFrame.write(raw, checksum: entry.checksum, into: destination)
    }
}

/// A frame whose blocks are all raw, so that its size tells it from any zero frame.
enum RawBlockFrame {
    private static let blockByteCount = 128 << 10
    private static let headerByteCount = 10

    static func byteCount(forRawByteCount count: Int) -> Int {
        headerByteCount + count + 3 * ((count + blockByteCount - 1) / blockByteCount) + 4
    }

    static func write(
        _ raw: UnsafeRawBufferPointer, checksum: UInt32, into destination: UnsafeMutableRawBufferPointer
    ) -> SeekTable.Entry {
        let size = byteCount(forRawByteCount: raw.count)
        precondition(destination.count >= size, "internal error: no room for raw blocks")
        // The header is that of a zero frame: content size in four bytes, checksum, a window of 2 MiB.
        destination.copyBytes(from: [0x28, 0xb5, 0x2f, 0xfd, 0x84, 0x58])
        destination.storeBytes(of: UInt32(raw.count).littleEndian, toByteOffset: 6, as: UInt32.self)
        var position = headerByteCount
        var done = 0
        while done < raw.count {
            let count = min(blockByteCount, raw.count - done)
            let header = UInt32(count) << 3 | (done + count == raw.count ? 1 : 0)
            destination[position] = UInt8(header & 0xff)
            destination[position + 1] = UInt8(header >> 8 & 0xff)
            destination[position + 2] = UInt8(header >> 16)
            UnsafeMutableRawBufferPointer(rebasing: destination[(position + 3)...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[done..<done + count]))
            position += 3 + count
            done += count
        }
        destination.storeBytes(of: checksum.littleEndian, toByteOffset: position, as: UInt32.self)
        return SeekTable.Entry(
            compressedByteCount: UInt32(size), rawByteCount: UInt32(raw.count), checksum: checksum)
    }
}
