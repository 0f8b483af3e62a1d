package import CryptoPrimitives

/// A public key: `age1…`.
package struct AgeRecipient: Hashable, Sendable, CustomStringConvertible {
    package let publicKey: [UInt8]

    package init(_ bech32: String) throws(AgeError) {
        let decoded = Array(bech32.utf8).withUnsafeBytes { Bech32.decode($0) }
        guard let decoded, decoded.prefix == "age", decoded.bytes.count == X25519.byteCount,
            bech32 == bech32.lowercased()
        else { throw AgeError(.recipient, "\"\(bech32)\" is not an age recipient") }
        publicKey = decoded.bytes
    }

    init(publicKey: [UInt8]) { self.publicKey = publicKey }

    package var string: String {
        String(decoding: publicKey.withUnsafeBytes { Bech32.encode(prefix: "age", $0) }, as: UTF8.self)
    }

    package var description: String { string }
}

/// A secret key: `AGE-SECRET-KEY-1…`.
package struct AgeIdentity: Sendable {
    package let secretKey: SecretBytes
    package let recipient: AgeRecipient

    package static func generate() -> AgeIdentity {
        AgeIdentity(secretKey: .random(count: X25519.byteCount))
    }

    package init(secretKey: SecretBytes) {
        self.secretKey = secretKey
        recipient = AgeRecipient(publicKey: X25519.publicKey(for: secretKey))
    }

    /// Parses the upper-case Bech32 form.
    package init(bech32: UnsafeRawBufferPointer) throws(AgeError) {
        guard !bech32.contains(where: { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }),
            var decoded = Bech32.decode(bech32)
        else { throw AgeError(.identity, "an age identity is malformed") }
        defer { Bech32.wipe(&decoded.bytes) }
        guard decoded.prefix == "age-secret-key-", decoded.bytes.count == X25519.byteCount else {
            throw AgeError(.identity, "an age identity is malformed")
        }
        self.init(secretKey: decoded.bytes.withUnsafeBytes { SecretBytes(copying: $0) })
    }

    /// The upper-case Bech32 form, as ASCII.
    package func encoded() -> SecretBytes {
        var text = secretKey.withUnsafeBytes { Bech32.encode(prefix: "age-secret-key-", $0) }
        for index in text.indices where (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(text[index]) {
            text[index] -= 32
        }
        defer { Bech32.wipe(&text) }
        return text.withUnsafeBytes { SecretBytes(copying: $0) }
    }
}
