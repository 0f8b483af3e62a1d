internal import COpenSSL
internal import CSodium
internal import Glibc

/// A SHA-256 digest.
package struct SHA256Digest: Hashable, Sendable, CustomStringConvertible {
    package static let byteCount = 32
    package let bytes: [UInt8]

    /// Takes exactly 32 bytes.
    package init(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == Self.byteCount, "internal error: a digest of \(bytes.count) bytes")
        self.bytes = Array(bytes)
    }

    /// nil unless it is 64 lower-case hexadecimal digits.
    package init?(hexadecimal: String) {
        let digits = Array(hexadecimal.utf8)
        guard digits.count == 2 * Self.byteCount else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(of: digits[index]), let low = Self.value(of: digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    package var hexadecimal: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    package var description: String { hexadecimal }

    package func isEqualInConstantTime(to other: SHA256Digest) -> Bool { equalInConstantTime(bytes, other.bytes) }

    private static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}

/// A running SHA-256, by OpenSSL, whose implementation uses the processor's SHA instructions.
package struct SHA256Hasher: ~Copyable {
    // Safe because: EVP_MD objects are immutable and reference-counted; this one is fetched once and never freed.
    private nonisolated(unsafe) static let algorithm: OpaquePointer = {
        guard let algorithm = EVP_MD_fetch(nil, "SHA256", nil) else {
            preconditionFailure("internal error: OpenSSL has no SHA-256")
        }
        return algorithm
    }()

    private let context: OpaquePointer
    private var isFinished = false

    package init() {
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex2(context, Self.algorithm, nil) == 1 else {
            preconditionFailure("internal error: SHA-256 does not start")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(!isFinished, "internal error: a finished hash is updated")
        guard bytes.count > 0 else { return }
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "internal error: SHA-256 fails")
    }

    /// The digest; the hash is over then.
    package mutating func finalize() -> SHA256Digest {
        precondition(!isFinished, "internal error: a hash is finished twice")
        isFinished = true
        return withUnsafeTemporaryAllocation(byteCount: SHA256Digest.byteCount, alignment: 1) { buffer in
            var count: UInt32 = 0
            let done = EVP_DigestFinal_ex(context, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), &count)
            precondition(done == 1 && count == 32, "internal error: SHA-256 fails")
            return SHA256Digest(UnsafeRawBufferPointer(buffer))
        }
    }

    package static func digest(of bytes: UnsafeRawBufferPointer) -> SHA256Digest {
        var hasher = SHA256Hasher()
        hasher.update(bytes)
        return hasher.finalize()
    }

    package static func digest(of bytes: [UInt8]) -> SHA256Digest {
        bytes.withUnsafeBytes { digest(of: $0) }
    }
}

/// HMAC-SHA-256 (RFC 2104), by libsodium.
package enum HMACSHA256 {
    package static let byteCount = 32

    package static func authenticationCode(for message: UnsafeRawBufferPointer, key: SecretBytes) -> [UInt8] {
        Sodium.start()
        var state = crypto_auth_hmacsha256_state()
        defer { sodium_memzero(&state, MemoryLayout.size(ofValue: state)) }
        key.withUnsafeBytes { key in
            _ = crypto_auth_hmacsha256_init(&state, key.octets, key.count)
        }
        if let base = message.baseAddress?.assumingMemoryBound(to: UInt8.self) {
            crypto_auth_hmacsha256_update(&state, base, UInt64(message.count))
        }
        var code = [UInt8](repeating: 0, count: byteCount)
        crypto_auth_hmacsha256_final(&state, &code)
        return code
    }

    /// Compares in constant time.
    package static func isValid(_ code: [UInt8], for message: UnsafeRawBufferPointer, key: SecretBytes) -> Bool {
        equalInConstantTime(code, authenticationCode(for: message, key: key))
    }
}

/// HKDF-SHA-256 (RFC 5869), both steps, from HMAC.
package enum HKDFSHA256 {
    /// Derives `count` bytes, at most 255 × 32. An empty salt stands for 32 zeros, as the RFC says.
    package static func deriveKey(from input: SecretBytes, salt: [UInt8], info: [UInt8], count: Int) -> SecretBytes {
        precondition(count > 0 && count <= 255 * HMACSHA256.byteCount, "internal error: HKDF for \(count) bytes")
        let saltKey = (salt.isEmpty ? [UInt8](repeating: 0, count: HMACSHA256.byteCount) : salt)
            .withUnsafeBytes { SecretBytes(copying: $0) }
        let pseudorandomKey = input.withUnsafeBytes { secret(HMACSHA256.authenticationCode(for: $0, key: saltKey)) }
        return SecretBytes(count: count) { output in
            var previous: [UInt8] = []
            var done = 0
            var counter: UInt8 = 1
            while done < count {
                var message = previous + info + [counter]
                previous = message.withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: pseudorandomKey) }
                sodium_memzero(&message, message.count)
                let part = min(previous.count, count - done)
                UnsafeMutableRawBufferPointer(rebasing: output[done..<done + part]).copyBytes(from: previous[..<part])
                done += part
                counter &+= 1
            }
            sodium_memzero(&previous, previous.count)
        }
    }

    private static func secret(_ bytes: consuming [UInt8]) -> SecretBytes {
        let secret = bytes.withUnsafeBytes { SecretBytes(copying: $0) }
        bytes.withUnsafeMutableBytes { sodium_memzero($0.baseAddress, $0.count) }
        return secret
    }
}
