internal import CZstd

/// Decompresses a zstd stream from front to back, as `zstd -d` does: any number of frames, skippable ones among them, with or
/// without a content size and a checksum.
///
/// Memory is bounded whatever the stream says: a frame that needs a window above 128 MiB is refused, as stock zstd does without
/// `--long`. One thread at a time. After an error every call throws it again.
package struct StreamDecompressor: ~Copyable {
    /// Windows of 2^27 bytes: what `zstd --long` makes, and what `zstd -d` takes without being told.
    package static let maximumWindowLog: Int32 = 27

    /// A frame's header takes up to 18 bytes; magic number, descriptor and window are the first six, and the content size follows.
    private static let headerByteCount = 18

    private let context: OpaquePointer
    /// The first bytes of the frame that is being decoded; empty between two frames.
    private var frameStart: [UInt8] = []
    private var frameOffset: UInt64 = 0
    private var failure: SeekableZstdError?
    /// Bytes of the stream that were taken.
    package private(set) var streamOffset: UInt64 = 0
    /// Data frames and skippable ones that have begun.
    package private(set) var frameCount = 0

    package init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("internal error: no zstd context") }
        self.context = context
        let size = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.maximumWindowLog)
        precondition(ZSTD_isError(size) == 0, "internal error: zstd parameter")
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Takes bytes of the stream and fills `raw` from its start, until either is used up. What was not taken comes again with the
    /// next call; a call that filled `raw` may have more to give, also without further bytes.
    ///
    /// Throws `.frame`, `.frameChecksum` or `.window`, each with the offset of the frame; `raw` holds nothing of use then.
    package mutating func decompress(
        _ stream: UnsafeRawBufferPointer, into raw: UnsafeMutableRawBufferPointer
    ) throws(SeekableZstdError) -> (taken: Int, given: Int) {
        if let failure { throw failure }
        do throws(SeekableZstdError) {
            return try step(stream, raw)
        } catch {
            failure = error
            throw error
        }
    }

    /// Throws `.frame` where the stream ends inside a frame, or is empty.
    package func finish() throws(SeekableZstdError) {
        if let failure { throw failure }
        guard frameCount > 0 else { throw SeekableZstdError(.frame, "there is no zstd stream", streamOffset: 0) }
        guard frameStart.isEmpty else {
            throw SeekableZstdError(
                .frame, "the zstd stream is cut short, inside the frame at \(frameOffset)", streamOffset: streamOffset)
        }
    }

    private mutating func step(
        _ stream: UnsafeRawBufferPointer, _ raw: UnsafeMutableRawBufferPointer
    ) throws(SeekableZstdError) -> (taken: Int, given: Int) {
        var input = ZSTD_inBuffer(src: stream.baseAddress, size: stream.count, pos: 0)
        var output = ZSTD_outBuffer(dst: raw.baseAddress, size: raw.count, pos: 0)
        while input.pos < input.size || !frameStart.isEmpty {
            try noteStart(UnsafeRawBufferPointer(rebasing: stream[input.pos...]))
            let (before, given) = (input.pos, output.pos)
            let status = ZSTD_decompressStream(context, &output, &input)
            guard ZSTD_isError(status) == 0 else { throw error(status) }
            streamOffset += UInt64(input.pos - before)
            // Not before the last byte of a frame is given.
            if status == 0 { frameStart = [] }
            if output.pos == output.size || input.pos == before && output.pos == given { break }
        }
        return (input.pos, output.pos)
    }

    /// Keeps the first bytes of a frame, and refuses what is none before libzstd sees it: it may know formats from before version 1.
    private mutating func noteStart(_ bytes: UnsafeRawBufferPointer) throws(SeekableZstdError) {
        guard frameStart.count < Self.headerByteCount, !bytes.isEmpty else { return }
        if frameStart.isEmpty {
            frameOffset = streamOffset
            frameCount += 1
        }
        // What was seen and not taken comes again.
        frameStart.removeLast(max(0, frameStart.count - Int(streamOffset - frameOffset)))
        frameStart += bytes.prefix(Self.headerByteCount - frameStart.count)
        guard frameStart.count >= 4 else { return }
        let magic = frameStart[0..<4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        // RFC 8878, sections 3.1.1 and 3.1.2.
        guard magic == 0xFD2F_B528 || magic & 0xFFFF_FFF0 == 0x184D_2A50 else {
            let what = frameCount == 1 ? "not a zstd stream" : "something else than a zstd frame follows the one before"
            throw SeekableZstdError(.frame, what, streamOffset: frameOffset)
        }
    }

    private func error(_ status: Int) -> SeekableZstdError {
        let name = String(cString: ZSTD_getErrorName(status))
        switch ZSTD_getErrorCode(status) {
        case ZSTD_error_frameParameter_windowTooLarge:
            let long = windowLog.map { "`zstd -d --long=\($0)`" } ?? "a larger `zstd -d --long`"
            return SeekableZstdError(
                .window, "the frame needs a window above 128 MiB; \(long) decodes it", streamOffset: frameOffset)
        case ZSTD_error_checksum_wrong:
            return SeekableZstdError(
                .frameChecksum, "the frame does not have the content that its checksum says", streamOffset: frameOffset)
        default:
            return SeekableZstdError(.frame, "the frame does not decode: \(name)", streamOffset: frameOffset)
        }
    }

    /// The power of two that holds the frame's window: the window descriptor of RFC 8878, section 3.1.1.1.2, or the content size
    /// of a frame that is one segment.
    private var windowLog: Int? {
        guard frameStart.count > 5 else { return nil }
        let descriptor = frameStart[4]
        var size: UInt64
        if descriptor & 0x20 == 0 {
            let base = UInt64(1) << (10 + UInt64(frameStart[5] >> 3))
            size = base + base / 8 * UInt64(frameStart[5] & 7)
        } else {
            let start = 5 + [0, 1, 2, 4][Int(descriptor & 3)]
            let count = [1, 2, 4, 8][Int(descriptor >> 6)]
            guard start + count <= frameStart.count else { return nil }
            size = frameStart[start..<start + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        size = max(2, size)
        return 64 - (size - 1).leadingZeroBitCount
    }
}
