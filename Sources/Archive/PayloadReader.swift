package import AgeFormat

/// Decrypts chunks of an archive of which nothing is known but that it is an age file: a foreign one.
///
/// Stateless after opening, so any thread may use it.
package struct PayloadReader: Sendable {
    package let layout: PayloadLayout
    private let key: PayloadKey

    /// Opens an archive by its header and nonce; no request. Throws `.noMatchingKey`, `.header`, `.headerAuthentication`, and
    /// `.payload` for a length that no age file has.
    package init(
        header: [UInt8], archiveByteCount: UInt64, identities: [AgeIdentity]
    ) throws(ArchiveError) {
        let opened = try ArchiveReader.openHeader(header, archiveByteCount: archiveByteCount, identities)
        layout = opened.payload
        key = opened.key
    }

    /// The ciphertext of consecutive chunks.
    package func archiveRange(ofChunks chunks: Range<UInt64>) -> Range<UInt64> {
        layout.archiveRange(ofChunk: chunks.lowerBound)
            .lowerBound..<layout.archiveRange(ofChunk: chunks.upperBound - 1).upperBound
    }

    /// What decrypts with the archive's key; for one thread at a time.
    package func makeCipher() -> PayloadCipher { PayloadCipher(key: key) }

    /// Decrypts a chunk in its place: the last one only as the last, which authenticates the length. `plaintext` has room for
    /// 64 KiB; returns how many bytes it holds.
    package func decrypt(
        chunk: UInt64, _ ciphertext: UnsafeRawBufferPointer, with cipher: inout PayloadCipher,
        into plaintext: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError) -> Int {
        let count = layout.plaintextRange(ofChunk: chunk).count
        do throws(AgeError) {
            try cipher.open(
                chunk: chunk, layout.position(ofChunk: chunk), ciphertext: ciphertext,
                into: UnsafeMutableRawBufferPointer(rebasing: plaintext[..<count]))
        } catch {
            throw ArchiveError(error, archiveOffset: layout.archiveRange(ofChunk: chunk).lowerBound)
        }
        return count
    }
}
