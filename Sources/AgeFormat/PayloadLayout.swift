/// Where the chunks of a payload lie. A value without I/O.
package struct PayloadLayout: Sendable, Hashable {
    package static let chunkByteCount = 65536
    package static let tagByteCount = 16
    package static let sealedChunkByteCount = 65552
    package static let nonceByteCount = 16

    /// Where the first chunk starts: behind header and nonce.
    package let payloadOffset: UInt64
    package let plaintextByteCount: UInt64
    /// At least one.
    package let chunkCount: UInt64

    /// Refuses sizes that no age file can have: a cut nonce (`.header`), a piece that cannot hold a tag, an empty last chunk
    /// behind others (`.payload`).
    package init(headerByteCount: Int, archiveByteCount: UInt64) throws(AgeError) {
        let (offset, overflow) = UInt64(headerByteCount).addingReportingOverflow(UInt64(Self.nonceByteCount))
        guard !overflow, archiveByteCount >= offset else {
            throw AgeError(.header, "the file ends inside the payload's nonce", archiveOffset: archiveByteCount)
        }
        let sealed = archiveByteCount - offset
        let whole = sealed / UInt64(Self.sealedChunkByteCount)
        let rest = sealed % UInt64(Self.sealedChunkByteCount)
        guard rest >= UInt64(Self.tagByteCount) || (rest == 0 && whole > 0) else {
            throw AgeError(.payload, "the file ends inside a chunk", archiveOffset: archiveByteCount)
        }
        guard rest != UInt64(Self.tagByteCount) || whole == 0 else {
            throw AgeError(.payload, "the last chunk is empty", archiveOffset: archiveByteCount)
        }
        payloadOffset = offset
        chunkCount = rest == 0 ? whole : whole + 1
        plaintextByteCount = sealed - chunkCount * UInt64(Self.tagByteCount)
    }

    package static func archiveByteCount(headerByteCount: Int, plaintextByteCount: UInt64) -> UInt64 {
        let chunks = max(1, (plaintextByteCount + UInt64(chunkByteCount) - 1) / UInt64(chunkByteCount))
        return UInt64(headerByteCount + nonceByteCount) + plaintextByteCount + chunks * UInt64(tagByteCount)
    }

    package func position(ofChunk index: UInt64) -> ChunkPosition { index == chunkCount - 1 ? .last : .inner }

    package func plaintextRange(ofChunk index: UInt64) -> Range<UInt64> {
        let start = index * UInt64(Self.chunkByteCount)
        return start..<min(plaintextByteCount, start + UInt64(Self.chunkByteCount))
    }

    package func archiveRange(ofChunk index: UInt64) -> Range<UInt64> {
        let start = payloadOffset + index * UInt64(Self.sealedChunkByteCount)
        let plaintext = plaintextRange(ofChunk: index)
        return start..<start + (plaintext.upperBound - plaintext.lowerBound) + UInt64(Self.tagByteCount)
    }

    /// The chunks that hold a range of the plaintext, which must not be empty.
    package func chunks(covering plaintext: Range<UInt64>) -> Range<UInt64> {
        precondition(
            !plaintext.isEmpty && plaintext.upperBound <= plaintextByteCount,
            "internal error: a range outside the payload")
        let size = UInt64(Self.chunkByteCount)
        return plaintext.lowerBound / size..<(plaintext.upperBound - 1) / size + 1
    }
}
