/// What is wrong with a zstd stream or its seek table.
package struct SeekableZstdError: Error, Hashable, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        /// The seek table is missing, damaged, or contradicts the stream.
        case seekTable
        /// A frame is not well-formed or does not decode.
        case frame
        /// A frame's content does not have the checksum that the seek table names.
        case frameChecksum
        /// A frame has another size than the seek table names.
        case frameSize
        /// A frame needs more memory than a reader gives it.
        case window
        /// libzstd refuses to compress.
        case compressor
    }

    package let code: Code
    package let detail: String
    /// Where in the zstd stream, when known.
    package let streamOffset: UInt64?
    package let frameIndex: Int?

    package init(_ code: Code, _ detail: String, streamOffset: UInt64? = nil, frameIndex: Int? = nil) {
        self.code = code
        self.detail = detail
        self.streamOffset = streamOffset
        self.frameIndex = frameIndex
    }

    package var description: String { detail }
}
