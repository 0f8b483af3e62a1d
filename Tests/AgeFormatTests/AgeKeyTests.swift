import AgeFormat
import CryptoPrimitives
import Testing

@Suite("Age keys")
struct AgeKeyTests {
    /// A pair as age-keygen made it.
    static let secret = "AGE-SECRET-KEY-1J8XK020UZN76NEZJYTLAXE4NM7T6WMMW3DDLV52XJ69Q0MS3ALQSJ940Q0"
    static let recipient = "age1xzrf7uxmgvhgvm9elqv6c0araf545ga5cg5mzyj9sesun8n3palqka24dg"

    private func identity(_ text: String) throws(AgeError) -> AgeIdentity {
        try Array(text.utf8).withUnsafeBytes { bytes in
            Result { () throws(AgeError) in try AgeIdentity(bech32: bytes) }
        }.get()
    }

    private func text(_ secret: SecretBytes) -> String {
        secret.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `a key of age-keygen is read, has its recipient, and is written as it was`() throws {
        let identity = try identity(Self.secret)
        #expect(identity.recipient.string == Self.recipient)
        #expect(text(identity.encoded()) == Self.secret)
        #expect(try AgeRecipient(Self.recipient) == identity.recipient)
    }

    @Test func `generated keys differ and come back`() throws {
        for _ in 0..<20 {
            let identity = AgeIdentity.generate()
            #expect(try self.identity(text(identity.encoded())).secretKey.isEqual(to: identity.secretKey))
            #expect(try AgeRecipient(identity.recipient.string) == identity.recipient)
            #expect(AgeIdentity.generate().recipient != identity.recipient)
        }
    }

    @Test func `each changed, missing or doubled character of a key is noticed`() {
        for index in Self.secret.indices {
            for text in [
                Self.secret.replacing(at: index, with: Self.secret[index] == "Q" ? "P" : "Q"),
                Self.secret.replacing(at: index, with: ""),
                Self.secret.replacing(at: index, with: "\(Self.secret[index])\(Self.secret[index])"),
                Self.secret.replacing(at: index, with: "\u{e9}"),
            ] where text != Self.secret {
                let error = #expect(throws: AgeError.self, "\(text)") { _ = try identity(text) }
                #expect(error?.code == .identity)
                #expect(error?.detail.contains("AGE-SECRET") == false, "an error shows no secret")
            }
        }
        for index in Self.recipient.indices {
            let text = Self.recipient.replacing(at: index, with: Self.recipient[index] == "q" ? "p" : "q")
            let error = #expect(throws: AgeError.self, "\(text)") { _ = try AgeRecipient(text) }
            #expect(error?.code == .recipient)
        }
    }

    @Test func `the other case, the other kind and nothing are refused`() {
        for text in [Self.secret.lowercased(), Self.recipient, "", "1", "AGE-SECRET-KEY-1", " " + Self.secret] {
            #expect(throws: AgeError.self, "\(text)") { _ = try identity(text) }
        }
        for text in [Self.recipient.uppercased(), Self.secret, "", "age1", Self.recipient + "\n"] {
            #expect(throws: AgeError.self, "\(text)") { _ = try AgeRecipient(text) }
        }
    }

    @Test func `identity files keep their order, and skip comments and empty lines`() throws {
        let other = AgeIdentity.generate()
        let file = "# a comment\r\n\n\(Self.secret)\r\n# another\n\(text(other.encoded()))"
        let identities = try Array(file.utf8).withUnsafeBytes { try AgeIdentityFile.parse($0) }
        #expect(identities.map(\.recipient.string) == [Self.recipient, other.recipient.string])
    }

    @Test func `an identity file is written as age-keygen writes it`() throws {
        let file = AgeIdentityFile.serialize(try identity(Self.secret), createdAt: "2026-11-20T02:00:00Z")
        #expect(
            text(file)
                == "# created: 2026-11-20T02:00:00Z\n# public key: \(Self.recipient)\n\(Self.secret)\n")
    }

    @Test(arguments: ["", "# only comments\n", "x\n", "AGE-SECRET-KEY-1ABC\n", "AGE-PLUGIN-X-1QQQQ\n"])
    func `an identity file without identities, or with other lines, is refused`(file: String) {
        let error = #expect(throws: AgeError.self) {
            _ = try Array(file.utf8).withUnsafeBytes { try AgeIdentityFile.parse($0) }
        }
        #expect(error?.code == .identity)
    }
}

extension String {
    func replacing(at index: Index, with other: String) -> String {
        self[..<index] + other + self[self.index(after: index)...]
    }
}
