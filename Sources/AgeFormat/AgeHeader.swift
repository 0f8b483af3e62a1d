package import CryptoPrimitives

/// The header of an age v1 file (age-encryption.org/v1, section "Header"): for each recipient a stanza that wraps the file
/// key, and a MAC under the file key over all of it.
package struct AgeHeader: Sendable {
    /// Larger headers are refused before memory is taken: 668 recipients fit.
    package static let maximumByteCount = 64 * 1024
    static let versionLine = Array("age-encryption.org/v1\n".utf8)
    static let fileKeyByteCount = 16

    struct Stanza: Sendable {
        let arguments: [[UInt8]]
        let body: [UInt8]
    }

    /// The length of the header, its last line feed included: the nonce follows.
    package let byteCount: Int
    let stanzas: [Stanza]
    private let code: [UInt8]
    /// What the MAC is computed over: everything up to and with `---`.
    private let authenticated: [UInt8]

    /// Parses the header at the start of `prefix`; nil where it is well-formed so far and goes on beyond it.
    package static func parse(prefix: UnsafeRawBufferPointer) throws(AgeError) -> AgeHeader? {
        var reader = LineReader(prefix)
        guard prefix.prefix(versionLine.count).elementsEqual(versionLine.prefix(prefix.count)) else {
            throw AgeError(.header, "not an age v1 file", archiveOffset: 0)
        }
        guard try reader.next() != nil else { return nil }
        var stanzas: [Stanza] = []
        while true {
            let start = reader.offset
            guard let line = try reader.next() else { return nil }
            if line.starts(with: Array("---".utf8)) {
                guard line.count > 4, line[3] == UInt8(ascii: " "), let code = Base64.decode(line[4...]),
                    code.count == HMACSHA256.byteCount
                else {
                    throw AgeError(.header, "the line of the header's MAC is malformed", archiveOffset: UInt64(start))
                }
                guard !stanzas.isEmpty else {
                    throw AgeError(.header, "the header has no recipients", archiveOffset: UInt64(start))
                }
                return AgeHeader(
                    byteCount: reader.offset, stanzas: stanzas, code: code, authenticated: Array(prefix[..<(start + 3)])
                )
            }
            guard let stanza = try parseStanza(line, start, &reader) else { return nil }
            stanzas.append(stanza)
        }
    }

    /// As `parse(prefix:)`, of an array.
    package static func parse(_ prefix: [UInt8]) throws(AgeError) -> AgeHeader? {
        try prefix.withUnsafeBytes { bytes in
            Result { () throws(AgeError) in try parse(prefix: bytes) }
        }.get()
    }

    /// nil where the prefix ends inside the stanza.
    private static func parseStanza(
        _ line: [UInt8], _ start: Int, _ reader: inout LineReader
    ) throws(AgeError) -> Stanza? {
        let malformed = AgeError(.header, "a recipient stanza is malformed", archiveOffset: UInt64(start))
        guard line.starts(with: Array("-> ".utf8)) else { throw malformed }
        let arguments = line[3...].split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map(Array.init)
        guard arguments.allSatisfy({ !$0.isEmpty && $0.allSatisfy { (33...126).contains($0) } }) else {
            throw malformed
        }
        var body: [UInt8] = []
        while true {
            guard let line = try reader.next() else { return nil }
            guard line.count <= 64, let bytes = Base64.decode(line) else { throw malformed }
            body += bytes
            // A stanza ends with a line that is not full, if need be an empty one.
            if line.count < 64 { return Stanza(arguments: arguments, body: body) }
        }
    }

    /// The file key: unwrapped by the first identity that fits, then checked by the header's MAC.
    ///
    /// Throws `.noMatch` where none fits, `.headerAuthentication` where the MAC does not, and `.header` for a stanza that is
    /// not what its type says.
    package func fileKey(identities: [AgeIdentity]) throws(AgeError) -> SecretBytes {
        try fileKey(.identities(identities))
    }

    /// The same, by whatever the reader has; `.outOfMemory` where a passphrase takes more than there is.
    package func fileKey(_ credential: AgeCredential) throws(AgeError) -> SecretBytes {
        // A passphrase stanza stands alone (section "scrypt recipient stanza"): its owner must not be fooled about senders.
        guard stanzas.count == 1 || !stanzas.contains(where: { $0.arguments.first == Self.passphraseType }) else {
            throw AgeError(.header, "a passphrase stanza is not alone")
        }
        for stanza in stanzas {
            try Self.check(stanza)
            guard let fileKey = try Self.unwrap(stanza, credential) else { continue }
            let isValid = authenticated.withUnsafeBytes {
                HMACSHA256.isValid(code, for: $0, key: Self.macKey(fileKey))
            }
            guard isValid else {
                throw AgeError(.headerAuthentication, "the header was changed: its MAC does not fit")
            }
            return fileKey
        }
        switch credential {
        case .identities: throw AgeError(.noMatch, "none of the identities opens the file")
        case .passphrase: throw AgeError(.noMatch, "the passphrase does not open the file")
        }
    }

    private static func unwrap(_ stanza: Stanza, _ credential: AgeCredential) throws(AgeError) -> SecretBytes? {
        switch credential {
        case .passphrase(let passphrase): return try unwrap(stanza, passphrase)
        case .identities(let identities):
            for identity in identities {
                if let fileKey = try unwrap(stanza, identity) { return fileKey }
            }
            return nil
        }
    }

    /// Makes a header with one X25519 stanza for each recipient.
    package static func make(
        fileKey: SecretBytes, recipients: [AgeRecipient], random: any RandomSource
    ) throws(AgeError) -> [UInt8] {
        guard !recipients.isEmpty else { throw AgeError(.recipient, "a file needs at least one recipient") }
        var text = versionLine
        for recipient in recipients {
            let ephemeral = SecretBytes(count: X25519.byteCount) { random.fill($0) }
            let share = X25519.publicKey(for: ephemeral)
            let shared: SecretBytes
            do throws(CryptoError) {
                shared = try X25519.sharedSecret(ephemeral, with: recipient.publicKey)
            } catch {
                throw AgeError(.recipient, "\(recipient) is not a usable key")
            }
            let body = sealed(fileKey, wrapKey(shared, share, recipient))
            // 32 bytes make 43 characters: one short line.
            text += Array("-> X25519 ".utf8) + Base64.encode(share) + [UInt8(ascii: "\n")]
            text += Base64.encode(body) + [UInt8(ascii: "\n")]
        }
        text = completed(text, fileKey)
        guard text.count <= maximumByteCount else { throw AgeError(.recipient, "too many recipients") }
        return text
    }

    // MARK: All stanzas

    /// The version line and stanzas with the line of their MAC.
    static func completed(_ text: [UInt8], _ fileKey: SecretBytes) -> [UInt8] {
        let authenticated = text + Array("---".utf8)
        let code = authenticated.withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: macKey(fileKey)) }
        return authenticated + [UInt8(ascii: " ")] + Base64.encode(code) + [UInt8(ascii: "\n")]
    }

    /// The body of a stanza: the file key under a key that wraps nothing else, so that the nonce may be zero.
    static func sealed(_ fileKey: SecretBytes, _ wrapKey: SecretBytes) -> [UInt8] {
        var cipher = ChaCha20Poly1305(key: wrapKey)
        var body = [UInt8](repeating: 0, count: fileKeyByteCount + ChaCha20Poly1305.tagByteCount)
        let nonce = [UInt8](repeating: 0, count: ChaCha20Poly1305.nonceByteCount)
        fileKey.withUnsafeBytes { plaintext in
            nonce.withUnsafeBytes { nonce in
                body.withUnsafeMutableBytes { cipher.seal(nonce: nonce, plaintext: plaintext, into: $0) }
            }
        }
        return body
    }

    /// The file key in a body; nil where the key is not the one that wrapped it.
    static func opened(_ body: [UInt8], _ wrapKey: SecretBytes) -> SecretBytes? {
        var cipher = ChaCha20Poly1305(key: wrapKey)
        let nonce = [UInt8](repeating: 0, count: ChaCha20Poly1305.nonceByteCount)
        var isAuthentic = false
        let fileKey = SecretBytes(count: fileKeyByteCount) { output in
            isAuthentic = body.withUnsafeBytes { body in
                nonce.withUnsafeBytes { cipher.open(nonce: $0, ciphertext: body, into: output) }
            }
        }
        return isAuthentic ? fileKey : nil
    }

    /// What a stanza of a type known here must look like, whether it is ours or not.
    private static func check(_ stanza: Stanza) throws(AgeError) {
        if try passphraseParameters(of: stanza) != nil { return }
        guard stanza.arguments.first == stanzaType else { return }
        guard stanza.arguments.count == 2, Base64.decode(stanza.arguments[1])?.count == X25519.byteCount,
            stanza.body.count == fileKeyByteCount + ChaCha20Poly1305.tagByteCount
        else { throw AgeError(.header, "an X25519 stanza is malformed") }
    }

    // MARK: X25519 stanzas

    private static let stanzaType = Array("X25519".utf8)

    /// nil for a stanza of another type or for somebody else.
    private static func unwrap(_ stanza: Stanza, _ identity: AgeIdentity) throws(AgeError) -> SecretBytes? {
        guard stanza.arguments.first == stanzaType, let share = Base64.decode(stanza.arguments[1]) else { return nil }
        let shared: SecretBytes
        do throws(CryptoError) {
            shared = try X25519.sharedSecret(identity.secretKey, with: share)
        } catch {
            throw AgeError(.header, "the share of an X25519 stanza is a point of low order")
        }
        return opened(stanza.body, wrapKey(shared, share, identity.recipient))
    }

    private static func wrapKey(_ shared: SecretBytes, _ share: [UInt8], _ recipient: AgeRecipient) -> SecretBytes {
        HKDFSHA256.deriveKey(
            from: shared, salt: share + recipient.publicKey, info: Array("age-encryption.org/v1/X25519".utf8),
            count: ChaCha20Poly1305.keyByteCount)
    }

    private static func macKey(_ fileKey: SecretBytes) -> SecretBytes {
        HKDFSHA256.deriveKey(from: fileKey, salt: [], info: Array("header".utf8), count: HMACSHA256.byteCount)
    }
}

/// Cuts lines off the start of a header; each ends with one line feed, which is not part of it.
private struct LineReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// nil where the bytes end before the line does.
    mutating func next() throws(AgeError) -> [UInt8]? {
        let limit = min(bytes.count, AgeHeader.maximumByteCount)
        guard let end = bytes[offset..<limit].firstIndex(of: UInt8(ascii: "\n")) else {
            guard bytes.count < AgeHeader.maximumByteCount else {
                throw AgeError(.header, "the header is larger than \(AgeHeader.maximumByteCount) bytes")
            }
            return nil
        }
        defer { offset = end + 1 }
        return Array(bytes[offset..<end])
    }
}
