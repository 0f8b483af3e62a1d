package import CryptoPrimitives

/// The key of one file's payload: HKDF-SHA-256 of the file key, salted with the payload's nonce.
package struct PayloadKey: Sendable {
    let secret: SecretBytes

    package init(fileKey: SecretBytes, nonce: UnsafeRawBufferPointer) {
        precondition(
            nonce.count == PayloadLayout.nonceByteCount, "internal error: a payload nonce of \(nonce.count) bytes")
        secret = HKDFSHA256.deriveKey(
            from: fileKey, salt: Array(nonce), info: Array("payload".utf8), count: ChaCha20Poly1305.keyByteCount)
    }
}

/// Whether a chunk is the last one; the cipher's nonce says so, and with it authenticates the length.
package enum ChunkPosition: Sendable, Hashable { case inner, last }

/// Seals and opens single chunks (the STREAM construction: an 11-byte counter, big-endian, and a byte for the last chunk).
/// One thread at a time; nothing is allocated per chunk.
package struct PayloadCipher: ~Copyable {
    private var cipher: ChaCha20Poly1305

    package init(key: PayloadKey) { cipher = ChaCha20Poly1305(key: key.secret) }

    /// `output` has room for the plaintext and its tag.
    package mutating func seal(
        chunk index: UInt64, _ position: ChunkPosition, plaintext: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) {
        var nonce = Self.nonce(index, position)
        withUnsafeBytes(of: &nonce) { nonce in
            cipher.seal(
                nonce: UnsafeRawBufferPointer(rebasing: nonce[4...]), plaintext: plaintext, into: output)
        }
    }

    /// `output` has room for the ciphertext without its tag. Throws `.payload` where it is not authentic.
    package mutating func open(
        chunk index: UInt64, _ position: ChunkPosition, ciphertext: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) throws(AgeError) {
        guard opens(chunk: index, position, ciphertext: ciphertext, into: output) else {
            throw AgeError(.payload, "chunk \(index) is not authentic")
        }
    }

    /// As `open`, false where it is not authentic: for readers that try both positions.
    mutating func opens(
        chunk index: UInt64, _ position: ChunkPosition, ciphertext: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        var nonce = Self.nonce(index, position)
        return withUnsafeBytes(of: &nonce) { nonce in
            cipher.open(nonce: UnsafeRawBufferPointer(rebasing: nonce[4...]), ciphertext: ciphertext, into: output)
        }
    }

    /// The nonce is the last twelve of these sixteen bytes: three zeros, the counter's eight, the last-chunk byte.
    private static func nonce(_ index: UInt64, _ position: ChunkPosition) -> (UInt64, UInt64) {
        // index < 2^56 always: 2^56 chunks are 2^72 bytes.
        ((index >> 56).bigEndian, (index << 8 | (position == .last ? 1 : 0)).bigEndian)
    }
}
