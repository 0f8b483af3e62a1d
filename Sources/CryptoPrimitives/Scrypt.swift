internal import COpenSSL

/// scrypt (RFC 7914), by OpenSSL.
package enum Scrypt {
    /// Derives `count` bytes. `cost` is N, a power of two above 1; `blockSize` is r, `parallelism` p.
    ///
    /// Takes about 128 × r × (N + p) bytes of memory, which OpenSSL wipes, and as much time as it takes to fill them several
    /// times. Throws `.outOfMemory` where there is no room for them.
    package static func deriveKey(
        from passphrase: SecretBytes, salt: [UInt8], cost: UInt64, blockSize: UInt64, parallelism: UInt64, count: Int
    ) throws(CryptoError) -> SecretBytes {
        precondition(
            cost > 1 && cost & (cost - 1) == 0 && cost <= 1 << 32 && 1...64 ~= blockSize && 1...64 ~= parallelism,
            "internal error: scrypt with N \(cost), r \(blockSize), p \(parallelism)")
        // B, V and two blocks of work space (RFC 7914, section 6).
        let memory = 128 * blockSize * (cost + parallelism + 4)
        var isDone = false
        let key = SecretBytes(count: count) { output in
            isDone = passphrase.withUnsafeBytes { passphrase in
                // A null pointer would stand for a passphrase of no bytes, which is as good here.
                EVP_PBE_scrypt(
                    passphrase.baseAddress?.assumingMemoryBound(to: CChar.self), passphrase.count, salt, salt.count,
                    cost, blockSize, parallelism, memory, output.octets, output.count) == 1
            }
        }
        guard isDone else {
            ERR_clear_error()
            throw CryptoError(code: .outOfMemory)
        }
        return key
    }
}
