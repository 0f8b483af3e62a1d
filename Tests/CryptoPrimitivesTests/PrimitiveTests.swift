import CryptoPrimitives
import Testing

@Suite("Primitives, by published answers")
struct PrimitiveTests {
    private func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = hexadecimal.filter { !$0.isWhitespace }
        return stride(from: 0, to: digits.count, by: 2).map { index in
            let start = digits.index(digits.startIndex, offsetBy: index)
            return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16) ?? 0
        }
    }

    private func secret(_ bytes: [UInt8]) -> SecretBytes { bytes.withUnsafeBytes { SecretBytes(copying: $0) } }

    @Test func `SHA-256 of FIPS 180`() {
        #expect(
            SHA256Hasher.digest(of: Array("abc".utf8)).hexadecimal
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            SHA256Hasher.digest(of: []).hexadecimal == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        var hasher = SHA256Hasher()
        for _ in 0..<1000 { [UInt8](repeating: 0x61, count: 1000).withUnsafeBytes { hasher.update($0) } }
        #expect(
            hasher.finalize().hexadecimal == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test func `a digest is read back from its digits, and from nothing else`() {
        let digest = SHA256Hasher.digest(of: [1, 2, 3])
        #expect(SHA256Digest(hexadecimal: digest.hexadecimal) == digest)
        #expect(SHA256Digest(hexadecimal: digest.hexadecimal.uppercased()) == nil)
        #expect(SHA256Digest(hexadecimal: String(digest.hexadecimal.dropLast())) == nil)
        #expect(!digest.isEqualInConstantTime(to: SHA256Hasher.digest(of: [1, 2, 4])))
    }

    @Test func `HMAC of RFC 4231, case 2`() {
        let message = Array("what do ya want for nothing?".utf8)
        let code = message.withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: secret(Array("Jefe".utf8))) }
        #expect(code == bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"))
        #expect(message.withUnsafeBytes { HMACSHA256.isValid(code, for: $0, key: secret(Array("Jefe".utf8))) })
        #expect(!message.withUnsafeBytes { HMACSHA256.isValid(code, for: $0, key: secret(Array("jefe".utf8))) })
    }

    @Test func `HKDF of RFC 5869, cases 1 and 3`() {
        let input = secret([UInt8](repeating: 0x0b, count: 22))
        let first = HKDFSHA256.deriveKey(
            from: input, salt: bytes("000102030405060708090a0b0c"), info: bytes("f0f1f2f3f4f5f6f7f8f9"), count: 42)
        let firstAnswer = bytes(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        #expect(first.isEqual(to: secret(firstAnswer)))
        let third = HKDFSHA256.deriveKey(from: input, salt: [], info: [], count: 42)
        let thirdAnswer = bytes(
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
        #expect(third.isEqual(to: secret(thirdAnswer)))
    }

    @Test func `X25519 of RFC 7748, and points of low order are refused`() throws {
        let scalar = secret(bytes("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
        let point = bytes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
        let answer = bytes("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
        #expect(try X25519.sharedSecret(scalar, with: point).isEqual(to: secret(answer)))
        let error = #expect(throws: CryptoError.self) {
            _ = try X25519.sharedSecret(scalar, with: [UInt8](repeating: 0, count: 32))
        }
        #expect(error?.code == .lowOrderPoint)
    }

    @Test func `ChaCha20-Poly1305 seals and opens, at every size around its blocks, and refuses every flipped bit`() {
        let key = SecretBytes.random(count: 32)
        let nonce = [UInt8](repeating: 7, count: 12)
        var cipher = ChaCha20Poly1305(key: key)
        for count in [0, 1, 15, 16, 17, 63, 64, 65, 1000, 65536] {
            let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            var sealed = [UInt8](repeating: 0, count: count + 16)
            var opened = [UInt8](repeating: 0xff, count: count)
            nonce.withUnsafeBytes { nonce in
                plaintext.withUnsafeBytes { plaintext in
                    sealed.withUnsafeMutableBytes { cipher.seal(nonce: nonce, plaintext: plaintext, into: $0) }
                }
            }
            func open() -> Bool {
                nonce.withUnsafeBytes { nonce in
                    sealed.withUnsafeBytes { sealed in
                        opened.withUnsafeMutableBytes { cipher.open(nonce: nonce, ciphertext: sealed, into: $0) }
                    }
                }
            }
            #expect(open())
            #expect(opened == plaintext)
            for position in Set([0, count / 2, count, count + 15]) {
                sealed[position] ^= 0x40
                #expect(!open(), "byte \(position) of \(count)")
                #expect(opened.allSatisfy { $0 == 0 })
                sealed[position] ^= 0x40
            }
        }
    }

    @Test func `secrets do not show`() {
        let secret = secret(Array("hush".utf8))
        #expect("\(secret)" == "<4 secret bytes>")
        #expect(String(reflecting: secret) == "<4 secret bytes>")
        #expect(secret.isEqual(to: self.secret(Array("hush".utf8))))
        #expect(!secret.isEqual(to: self.secret(Array("husk".utf8))))
    }
}
