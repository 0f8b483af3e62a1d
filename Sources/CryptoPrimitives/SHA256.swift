internal import COpenSSL

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
            guard let high = Self.value(of: digits[index]), let low = Self.value(of: digits[index + 1]) else {
                return nil
            }
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
