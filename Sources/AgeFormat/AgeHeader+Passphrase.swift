package import CryptoPrimitives

/// The stanza of a passphrase (age-encryption.org/v1, section "scrypt recipient stanza"): a file has one, and nothing beside it.
extension AgeHeader {
    /// What age itself uses: N = 2^18, 256 MiB of memory.
    package static let passphraseWorkFactor = 18
    /// A file that asks for more is refused: N = 2^20 takes 1 GiB. A file could ask for any amount otherwise.
    package static let maximumPassphraseWorkFactor = 20

    static let passphraseType = Array("scrypt".utf8)
    private static let saltByteCount = 16

    /// Makes the header of a file that a passphrase opens. Throws `.outOfMemory` without memory for the work factor.
    package static func make(
        fileKey: SecretBytes, passphrase: SecretBytes, workFactor: Int, random: any RandomSource
    ) throws(AgeError) -> [UInt8] {
        var salt = [UInt8](repeating: 0, count: saltByteCount)
        salt.withUnsafeMutableBytes { random.fill($0) }
        let body = sealed(fileKey, try passphraseKey(passphrase, salt, workFactor))
        var text = versionLine + Array("-> ".utf8) + passphraseType + [UInt8(ascii: " ")] + Base64.encode(salt)
        text += Array(" \(workFactor)\n".utf8) + Base64.encode(body) + [UInt8(ascii: "\n")]
        return completed(text, fileKey)
    }

    /// What a passphrase stanza must look like. nil for another type.
    static func passphraseParameters(of stanza: Stanza) throws(AgeError) -> (salt: [UInt8], workFactor: Int)? {
        guard stanza.arguments.first == passphraseType else { return nil }
        guard stanza.arguments.count == 3, let salt = Base64.decode(stanza.arguments[1]), salt.count == saltByteCount,
            let workFactor = decimal(stanza.arguments[2]),
            stanza.body.count == fileKeyByteCount + ChaCha20Poly1305.tagByteCount
        else { throw AgeError(.header, "a passphrase stanza is malformed") }
        return (salt, workFactor)
    }

    /// nil for a stanza of another type or another passphrase.
    static func unwrap(_ stanza: Stanza, _ passphrase: SecretBytes) throws(AgeError) -> SecretBytes? {
        guard let (salt, workFactor) = try passphraseParameters(of: stanza) else { return nil }
        guard workFactor <= maximumPassphraseWorkFactor else {
            throw AgeError(
                .header,
                "a passphrase stanza asks for a work factor of \(workFactor), above \(maximumPassphraseWorkFactor)"
            )
        }
        return opened(stanza.body, try passphraseKey(passphrase, salt, workFactor))
    }

    /// Decimal without a sign or leading zeros, of at most nine digits; nil for anything else.
    private static func decimal(_ digits: [UInt8]) -> Int? {
        guard 1...9 ~= digits.count, digits.first != UInt8(ascii: "0"),
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(String(decoding: digits, as: UTF8.self))
    }

    private static func passphraseKey(
        _ passphrase: SecretBytes, _ salt: [UInt8], _ workFactor: Int
    ) throws(AgeError) -> SecretBytes {
        do throws(CryptoError) {
            return try Scrypt.deriveKey(
                from: passphrase, salt: Array("age-encryption.org/v1/scrypt".utf8) + salt,
                cost: 1 << UInt64(workFactor),
                blockSize: 8, parallelism: 1, count: ChaCha20Poly1305.keyByteCount)
        } catch {
            throw AgeError(
                .outOfMemory,
                "there is no memory for a work factor of \(workFactor), which takes \(1 << workFactor) KiB")
        }
    }
}
