import AgeFormat
import CryptoPrimitives
import Testing

@Suite("Age headers")
struct AgeHeaderTests {
    let identity = AgeIdentity.generate()

    private func header(_ recipients: [AgeRecipient]) throws -> [UInt8] {
        try AgeHeader.make(fileKey: .random(count: 16), recipients: recipients, random: SystemRandomSource())
    }

    private func code(_ header: [UInt8]) -> AgeError.Code? {
        do throws(AgeError) {
            guard let header = try AgeHeader.parse(header) else { return nil }
            _ = try header.fileKey(identities: [identity])
            return nil
        } catch {
            return error.code
        }
    }

    @Test func `every recipient opens the file, and nobody else`() throws {
        let identities = (0..<5).map { _ in AgeIdentity.generate() }
        let fileKey = SecretBytes.random(count: 16)
        let bytes = try AgeHeader.make(
            fileKey: fileKey, recipients: identities.map(\.recipient), random: SystemRandomSource())
        let header = try #require(try AgeHeader.parse(bytes))
        for identity in identities {
            #expect(try header.fileKey(identities: [identity]).isEqual(to: fileKey))
            #expect(try header.fileKey(identities: [.generate(), identity]).isEqual(to: fileKey))
        }
        let error = #expect(throws: AgeError.self) { _ = try header.fileKey(identities: [identity]) }
        #expect(error?.code == .noMatch)
        let none = #expect(throws: AgeError.self) { _ = try header.fileKey(identities: []) }
        #expect(none?.code == .noMatch)
    }

    @Test func `every proper prefix is incomplete, not wrong, and what follows does not matter`() throws {
        let bytes = try header([identity.recipient, AgeIdentity.generate().recipient])
        for count in 0..<bytes.count { #expect(try AgeHeader.parse(Array(bytes[..<count])) == nil) }
        #expect(try AgeHeader.parse(bytes)?.byteCount == bytes.count)
        #expect(try AgeHeader.parse(bytes + [0, 10, 13, 255])?.byteCount == bytes.count)
    }

    @Test func `a stanza that somebody adds is found by the MAC`() throws {
        let bytes = try header([identity.recipient])
        let grease = Array("-> grease a b\nAAAA\n".utf8)
        let line = AgeHeaderTests.versionCount
        #expect(code(bytes) == nil)
        #expect(code(Array(bytes[..<line]) + grease + Array(bytes[line...])) == .headerAuthentication)
    }

    @Test(arguments: [
        "age-encryption.org/v2\n", "age-encryption.org/v1\r\n", "age-encryption.org/v1\n--- AAAA\n",
        "age-encryption.org/v1\n\n", "age-encryption.org/v1\n->X25519 a\n", "age-encryption.org/v1\n-> \n",
        "age-encryption.org/v1\n-> a  b\n", "age-encryption.org/v1\n-> a \n", "age-encryption.org/v1\n-> \u{e9}\n",
        "age-encryption.org/v1\n-> a\nAAA=\n", "age-encryption.org/v1\n-> a\nAB\n", "age-encryption.org/v1\n-> a\nA\n",
        "age-encryption.org/v1\n-> a\nA_-A\n", "age-encryption.org/v1\n-> a\n\n---\n", "not age",
        "age-encryption.org/v1\n-> a\n\n--- \n", "age-encryption.org/v1\n-> a\n\n---  AAAA\n",
        "age-encryption.org/v1\n-> a\n\n--- AAAA\n", "-----BEGIN AGE ENCRYPTED FILE-----\n",
    ])
    func `a malformed header is refused`(text: String) {
        #expect(code(Array(text.utf8)) == .header)
    }

    @Test func `a passphrase stanza beside another is refused`() throws {
        let bytes = try header([identity.recipient])
        let stanza = Array("-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\nAAAA\n".utf8)
        let line = AgeHeaderTests.versionCount
        #expect(code(Array(bytes[..<line]) + stanza + Array(bytes[line...])) == .header)
    }

    @Test func `a header without end is refused at its limit, with and without line feeds`() throws {
        let start = Array("age-encryption.org/v1\n-> a".utf8)
        let endless = start + [UInt8](repeating: 0x61, count: AgeHeader.maximumByteCount)
        let stanzas =
            Array("age-encryption.org/v1\n".utf8)
            + (0..<AgeHeader.maximumByteCount / 6).flatMap { _ in Array("-> a\n\n".utf8) }
        for bytes in [endless, stanzas] {
            #expect(try AgeHeader.parse(Array(bytes[..<(AgeHeader.maximumByteCount - 1)])) == nil)
            #expect(code(Array(bytes[..<AgeHeader.maximumByteCount])) == .header)
            #expect(code(bytes) == .header)
        }
    }

    @Test func `headers for nobody, for too many and for a key of low order are not made`() throws {
        func makeCode(_ recipients: [AgeRecipient]) -> AgeError.Code? {
            do throws(AgeError) {
                _ = try AgeHeader.make(
                    fileKey: .random(count: 16), recipients: recipients, random: SystemRandomSource())
                return nil
            } catch {
                return error.code
            }
        }
        #expect(makeCode([]) == .recipient)
        #expect(makeCode([AgeRecipient](repeating: identity.recipient, count: 668)) == nil)
        #expect(makeCode([AgeRecipient](repeating: identity.recipient, count: 669)) == .recipient)
        // The Bech32 form of 32 zeros, a point of low order.
        let zero = try AgeRecipient("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z")
        #expect(makeCode([zero]) == .recipient)
    }

    private static let versionCount = "age-encryption.org/v1\n".utf8.count
}
