internal import CZstd

/// Decompresses single frames into memory of exactly their size. One thread at a time; the context is reused.
package struct FrameDecompressor: ~Copyable {
    private let context: OpaquePointer

    package init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("internal error: no zstd context") }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Decompresses `frame`, which must be one whole frame with the sizes and the checksum of `entry`; `raw` has exactly the
    /// raw size. Throws `.frame`, `.frameSize` or `.frameChecksum`; `raw` holds nothing of use then.
    package mutating func decompress(
        _ frame: UnsafeRawBufferPointer, as entry: SeekTable.Entry, into raw: UnsafeMutableRawBufferPointer
    ) throws(SeekableZstdError) {
        precondition(raw.count == Int(entry.rawByteCount), "internal error: memory that does not fit the frame")
        guard frame.count == Int(entry.compressedByteCount), frame.count >= 9 else {
            throw SeekableZstdError(.frameSize, "the frame has another size than the seek table names")
        }
        // libzstd can be built to decode the formats before 0.8 too, and Debian's is: their checksum is another, or none.
        guard frame.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) else {
            throw SeekableZstdError(.frame, "the frame is not of the zstd format")
        }
        // Bit 2 of the frame header descriptor: a checksum follows the content, and libzstd will check it.
        guard frame[4] & 0x04 != 0 else { throw SeekableZstdError(.frameChecksum, "the frame has no checksum") }
        guard ZSTD_getFrameContentSize(frame.baseAddress, frame.count) == UInt64(entry.rawByteCount) else {
            throw SeekableZstdError(.frameSize, "the frame's content size is not the one the seek table names")
        }
        guard ZSTD_findFrameCompressedSize(frame.baseAddress, frame.count) == frame.count else {
            throw SeekableZstdError(.frameSize, "the frame does not end where the seek table says")
        }
        let checksum = UInt32(littleEndian: frame.loadUnaligned(fromByteOffset: frame.count - 4, as: UInt32.self))
        guard checksum == entry.checksum else {
            throw SeekableZstdError(.frameChecksum, "the frame's checksum is not the one the seek table names")
        }
        let size = ZSTD_decompressDCtx(context, raw.baseAddress, raw.count, frame.baseAddress, frame.count)
        guard ZSTD_isError(size) == 0 else {
            throw SeekableZstdError(.frame, "the frame does not decode: \(String(cString: ZSTD_getErrorName(size)))")
        }
        guard size == raw.count else {
            throw SeekableZstdError(.frameSize, "the frame holds \(size) bytes, the seek table names \(raw.count)")
        }
    }
}
