internal import CZstd

/// Compresses bytes that come piece by piece into one zstd frame with a checksum, which stock `zstd -d` opens. For documents; an
/// archive's frames are `FrameCompressor`'s. One thread at a time; after an error, its own or the sink's, it is of no use any more.
package struct StreamCompressor: ~Copyable {
    /// 512 KiB: a level's own window would take several times the memory, and documents repeat themselves line by line.
    private static let windowLog: Int32 = 19

    private let context: OpaquePointer
    private var output = [UInt8](repeating: 0, count: ZSTD_CStreamOutSize())

    /// Traps for a level that libzstd does not know.
    package init(level: Int32) {
        precondition(level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel(), "internal error: zstd level \(level)")
        guard let context = ZSTD_createCCtx() else { preconditionFailure("internal error: no zstd context") }
        self.context = context
        let parameters = [
            (ZSTD_c_compressionLevel, level), (ZSTD_c_checksumFlag, 1), (ZSTD_c_windowLog, Self.windowLog),
        ]
        for (parameter, value) in parameters {
            precondition(
                ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0, "internal error: zstd parameter")
        }
    }

    deinit { ZSTD_freeCCtx(context) }

    /// Gives the sink what is finished so far; what it is given is valid during the call only.
    package mutating func update(
        _ bytes: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        try run(bytes, ZSTD_e_continue, sink)
    }

    /// Ends the frame.
    package mutating func finish(into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        try run(UnsafeRawBufferPointer(start: nil, count: 0), ZSTD_e_end, sink)
    }

    private mutating func run(
        _ bytes: UnsafeRawBufferPointer, _ operation: ZSTD_EndDirective,
        _ sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        try output.withUnsafeMutableBytes { output in
            while true {
                var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
                let rest = ZSTD_compressStream2(context, &target, &input, operation)
                guard ZSTD_isError(rest) == 0 else {
                    throw SeekableZstdError(.compressor, String(cString: ZSTD_getErrorName(rest)))
                }
                if target.pos > 0 { try sink(UnsafeRawBufferPointer(rebasing: output[..<target.pos])) }
                // At the end all has to come out, otherwise all has to go in.
                if operation == ZSTD_e_end ? rest == 0 : input.pos == input.size { return }
            }
        }
    }
}

/// Decompresses one zstd frame that comes piece by piece. Takes no more memory than a window of 8 MiB and a few blocks. What it
/// gives out before `finish` has returned is not known to be whole. One thread at a time.
package struct DocumentDecompressor: ~Copyable {
    /// What stock `zstd -d` takes without being told, too.
    private static let maximumWindowLog: Int32 = 23

    private let context: OpaquePointer
    private var output = [UInt8](repeating: 0, count: ZSTD_DStreamOutSize())
    private var isWhole = false

    package init() {
        guard let context = ZSTD_createDCtx() else { preconditionFailure("internal error: no zstd context") }
        self.context = context
        precondition(
            ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.maximumWindowLog)) == 0,
            "internal error: zstd parameter")
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Throws `.frame` for what is no zstd, and for bytes behind the frame.
    package mutating func update(
        _ bytes: UnsafeRawBufferPointer, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var input = ZSTD_inBuffer(src: bytes.baseAddress, size: bytes.count, pos: 0)
        while input.pos < input.size {
            guard !isWhole else { throw SeekableZstdError(.frame, "something is behind the end of the frame") }
            isWhole = try output.withUnsafeMutableBytes { output in
                while true {
                    var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
                    let rest = ZSTD_decompressStream(context, &target, &input)
                    guard ZSTD_isError(rest) == 0 else {
                        throw SeekableZstdError(
                            .frame, "the frame does not decode: \(String(cString: ZSTD_getErrorName(rest)))")
                    }
                    if target.pos > 0 { try sink(UnsafeRawBufferPointer(rebasing: output[..<target.pos])) }
                    if rest == 0 { return true }
                    // A full output may have more to come without further input.
                    if input.pos == input.size, target.pos < target.size { return false }
                }
            }
        }
    }

    /// Throws `.frame` unless the frame was complete.
    package func finish() throws(SeekableZstdError) {
        guard isWhole else { throw SeekableZstdError(.frame, "the frame is cut short") }
    }
}
