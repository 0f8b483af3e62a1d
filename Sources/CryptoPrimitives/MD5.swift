internal import COpenSSL

/// MD5, by OpenSSL: for what S3 calls entity tags and `Content-MD5`, which find accidents. It protects from nobody.
package enum MD5 {
    // Safe because: EVP_MD objects are immutable and reference-counted; this one is fetched once and never freed.
    private nonisolated(unsafe) static let algorithm: OpaquePointer = {
        guard let algorithm = EVP_MD_fetch(nil, "MD5", nil) else {
            preconditionFailure("internal error: OpenSSL has no MD5")
        }
        return algorithm
    }()

    private static let byteCount = 16

    /// The 16 bytes of the digest.
    package static func digest(of bytes: UnsafeRawBufferPointer) -> [UInt8] {
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex2(context, algorithm, nil) == 1 else {
            preconditionFailure("internal error: MD5 does not start")
        }
        defer { EVP_MD_CTX_free(context) }
        var digest = [UInt8](repeating: 0, count: byteCount)
        var count: UInt32 = 0
        let isDone =
            (bytes.isEmpty || EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1)
            && EVP_DigestFinal_ex(context, &digest, &count) == 1
        precondition(isDone && count == UInt32(byteCount), "internal error: MD5 fails")
        return digest
    }

    package static func digest(of bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBytes { digest(of: $0) }
    }
}
