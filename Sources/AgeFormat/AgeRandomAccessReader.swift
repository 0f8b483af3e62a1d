internal import CryptoPrimitives

/// Reads any part of an age file. The last chunk is authenticated at opening, and with it the length. One thread at a time.
package final class AgeRandomAccessReader {
    private let layout: PayloadLayout
    private var cipher: PayloadCipher
    private let readArchive: (UInt64, UnsafeMutableRawBufferPointer) throws -> Void
    private var sealed = [UInt8](repeating: 0, count: PayloadLayout.sealedChunkByteCount)
    private var plaintext = [UInt8](repeating: 0, count: PayloadLayout.chunkByteCount)

    package var plaintextByteCount: UInt64 { layout.plaintextByteCount }

    /// `read` fills a buffer from an offset of the file, or throws. Reads the head, at most 64 KiB, and the last chunk.
    package convenience init(
        archiveByteCount: UInt64, identities: [AgeIdentity],
        read: @escaping (UInt64, UnsafeMutableRawBufferPointer) throws -> Void
    ) throws {
        try self.init(archiveByteCount: archiveByteCount, .identities(identities), read: read)
    }

    /// The same, by whatever the reader has.
    package init(
        archiveByteCount: UInt64, _ credential: AgeCredential,
        read: @escaping (UInt64, UnsafeMutableRawBufferPointer) throws -> Void
    ) throws {
        let limit = AgeHeader.maximumByteCount + PayloadLayout.nonceByteCount
        var prefix = [UInt8](repeating: 0, count: Int(min(archiveByteCount, UInt64(limit))))
        try prefix.withUnsafeMutableBytes { try read(0, $0) }
        guard let header = try AgeHeader.parse(prefix) else {
            throw AgeError(.header, "the file ends inside the header", archiveOffset: archiveByteCount)
        }
        let fileKey = try header.fileKey(credential)
        layout = try PayloadLayout(headerByteCount: header.byteCount, archiveByteCount: archiveByteCount)
        let nonce = Array(prefix[header.byteCount..<Int(layout.payloadOffset)])
        cipher = PayloadCipher(key: nonce.withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) })
        readArchive = read
        try readChunk(layout.chunkCount - 1)
    }

    /// Fills the buffer with plaintext from `offset` on, which must lie inside. Where it throws, the buffer holds genuine
    /// bytes or zeros or what it held before, never what failed authentication.
    package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard offset <= plaintextByteCount, UInt64(buffer.count) <= plaintextByteCount - offset else {
            throw AgeError(.payload, "plaintext beyond the end was asked for")
        }
        guard buffer.count > 0 else { return }
        let wanted = offset..<offset + UInt64(buffer.count)
        for index in layout.chunks(covering: wanted) {
            let range = layout.plaintextRange(ofChunk: index)
            let part = range.clamped(to: wanted)
            try readChunk(index)
            let from = Int(part.lowerBound - range.lowerBound)
            let to = Int(part.lowerBound - offset)
            plaintext.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(rebasing: buffer[to..<to + part.count])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[from..<from + part.count]))
            }
        }
    }

    /// Leaves a chunk's plaintext at the start of `plaintext`.
    private func readChunk(_ index: UInt64) throws {
        let range = layout.archiveRange(ofChunk: index)
        try sealed.withUnsafeMutableBytes {
            try readArchive(range.lowerBound, UnsafeMutableRawBufferPointer(rebasing: $0[..<range.count]))
        }
        let isAuthentic = sealed.withUnsafeBytes { sealed in
            plaintext.withUnsafeMutableBytes { plaintext in
                cipher.opens(
                    chunk: index, layout.position(ofChunk: index), ciphertext: sealed.first(range.count),
                    into: UnsafeMutableRawBufferPointer(
                        rebasing: plaintext[..<(range.count - PayloadLayout.tagByteCount)]))
            }
        }
        guard isAuthentic else {
            throw AgeError(.payload, "chunk \(index) is not authentic", archiveOffset: range.lowerBound)
        }
    }
}
