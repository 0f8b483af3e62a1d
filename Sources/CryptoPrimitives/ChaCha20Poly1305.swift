internal import COpenSSL
internal import Glibc

/// ChaCha20-Poly1305 (RFC 8439) without associated data, by OpenSSL. One key for its lifetime, set up once; each call only
/// sets the nonce, so sealing a chunk allocates nothing. One thread at a time.
package struct ChaCha20Poly1305: ~Copyable {
    package static let keyByteCount = 32
    package static let nonceByteCount = 12
    package static let tagByteCount = 16

    // Safe because: EVP_CIPHER objects are immutable and reference-counted; this one is fetched once and never freed.
    private nonisolated(unsafe) static let algorithm: OpaquePointer = {
        guard let algorithm = EVP_CIPHER_fetch(nil, "ChaCha20-Poly1305", nil) else {
            preconditionFailure("internal error: OpenSSL has no ChaCha20-Poly1305")
        }
        return algorithm
    }()

    private let context: OpaquePointer
    private var direction: Int32 = -1
    private let key: SecretBytes

    package init(key: SecretBytes) {
        precondition(key.count == Self.keyByteCount, "internal error: a ChaCha20 key of \(key.count) bytes")
        guard let context = EVP_CIPHER_CTX_new() else { preconditionFailure("internal error: no cipher context") }
        self.context = context
        self.key = key
    }

    /// OpenSSL wipes the key schedule as it frees the context.
    deinit { EVP_CIPHER_CTX_free(context) }

    /// Encrypts; `output` has room for the plaintext and 16 more bytes, and does not overlap it.
    package mutating func seal(
        nonce: UnsafeRawBufferPointer, plaintext: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(output.count == plaintext.count + Self.tagByteCount, "internal error: no room for the tag")
        start(nonce, encrypts: 1)
        let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var count: Int32 = 0
        if plaintext.count > 0 {
            let source = plaintext.baseAddress?.assumingMemoryBound(to: UInt8.self)
            precondition(
                EVP_CipherUpdate(context, target, &count, source, Int32(plaintext.count)) == 1,
                "internal error: encryption fails")
        }
        var rest: Int32 = 0
        let tag = target?.advanced(by: plaintext.count)
        precondition(
            EVP_CipherFinal_ex(context, tag, &rest) == 1
                && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagByteCount), tag) == 1,
            "internal error: encryption fails")
    }

    /// Decrypts; `ciphertext` ends with the tag, `output` has room for the rest and is either that very memory or does not
    /// overlap it. False where it is not authentic: `output` is wiped then.
    package mutating func open(
        nonce: UnsafeRawBufferPointer, ciphertext: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let count = ciphertext.count - Self.tagByteCount
        guard count >= 0 else { return false }
        precondition(output.count == count, "internal error: no room for the plaintext")
        start(nonce, encrypts: 0)
        guard let source = ciphertext.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
        let target = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let tag = UnsafeMutableRawPointer(mutating: source.advanced(by: count))
        precondition(
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagByteCount), tag) == 1,
            "internal error: decryption fails")
        var done: Int32 = 0
        if count > 0 {
            precondition(
                EVP_CipherUpdate(context, target, &done, source, Int32(count)) == 1, "internal error: decryption fails")
        }
        var rest: Int32 = 0
        var nothing: UInt8 = 0
        let isAuthentic = EVP_CipherFinal_ex(context, &nothing, &rest) == 1
        if !isAuthentic { output.initializeMemory(as: UInt8.self, repeating: 0) }
        return isAuthentic
    }

    /// The key is set up once for each direction; after that only the nonce is set.
    private mutating func start(_ nonce: UnsafeRawBufferPointer, encrypts: Int32) {
        precondition(nonce.count == Self.nonceByteCount, "internal error: a nonce of \(nonce.count) bytes")
        let nonce = nonce.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let status: Int32
        if direction == encrypts {
            status = EVP_CipherInit_ex(context, nil, nil, nil, nonce, encrypts)
        } else {
            direction = encrypts
            status = key.withUnsafeBytes { key in
                EVP_CipherInit_ex2(
                    context, Self.algorithm, key.baseAddress?.assumingMemoryBound(to: UInt8.self), nonce, encrypts, nil)
            }
        }
        precondition(status == 1, "internal error: the cipher does not start")
    }
}
