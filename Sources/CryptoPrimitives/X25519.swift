internal import CSodium

/// Diffie-Hellman on Curve25519 (RFC 7748), by libsodium.
package enum X25519 {
    package static let byteCount = 32

    package static func publicKey(for secret: SecretBytes) -> [UInt8] {
        Sodium.start()
        precondition(secret.count == byteCount, "internal error: an X25519 secret of \(secret.count) bytes")
        var key = [UInt8](repeating: 0, count: byteCount)
        secret.withUnsafeBytes { secret in
            _ = crypto_scalarmult_base(&key, secret.octets)
        }
        return key
    }

    /// Throws `.lowOrderPoint` where the result would be zero.
    package static func sharedSecret(_ secret: SecretBytes, with publicKey: [UInt8]) throws(CryptoError) -> SecretBytes
    {
        Sodium.start()
        precondition(
            secret.count == byteCount && publicKey.count == byteCount, "internal error: X25519 keys have 32 bytes")
        var status: Int32 = -1
        let shared = SecretBytes(count: byteCount) { output in
            status = secret.withUnsafeBytes { secret in
                crypto_scalarmult(
                    output.octets,
                    secret.octets, publicKey)
            }
        }
        guard status == 0 else { throw CryptoError(code: .lowOrderPoint) }
        return shared
    }
}
