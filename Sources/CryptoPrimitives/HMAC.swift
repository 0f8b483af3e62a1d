internal import CSodium
internal import Glibc

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
            // Holds output of the step before: reserved, so that it is never moved, and wiped.
            var message: [UInt8] = []
            message.reserveCapacity(HMACSHA256.byteCount + info.count + 1)
            while done < count {
                message += previous
                message += info
                message.append(counter)
                sodium_memzero(&previous, previous.count)
                previous = message.withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: pseudorandomKey) }
                sodium_memzero(&message, message.count)
                message.removeAll(keepingCapacity: true)
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
