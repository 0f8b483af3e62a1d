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
            SHA256Hasher.digest(of: []).hexadecimal
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
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

    @Test func `SHA-256 is the same in one piece and in many, at every size around its blocks`() {
        for count in [0, 1, 55, 56, 63, 64, 65, 119, 127, 128, 129, 1000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            for step in [1, 13, 64, 200] {
                var hasher = SHA256Hasher()
                for start in stride(from: 0, to: count, by: step) {
                    Array(bytes[start..<min(count, start + step)]).withUnsafeBytes { hasher.update($0) }
                }
                #expect(hasher.finalize() == SHA256Hasher.digest(of: bytes))
            }
        }
    }

    @Test func `HMAC of RFC 4231, cases 1 and 6`() {
        func code(_ key: [UInt8], _ message: String) -> [UInt8] {
            Array(message.utf8).withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: secret(key)) }
        }
        #expect(
            code([UInt8](repeating: 0x0b, count: 20), "Hi There")
                == bytes("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"))
        #expect(
            code(
                [UInt8](repeating: 0xaa, count: 131), "Test Using Larger Than Block-Size Key - Hash Key First")
                == bytes("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"))
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

    @Test func `X25519: two sides agree, at random`() throws {
        for _ in 0..<20 {
            let left = SecretBytes.random(count: 32)
            let right = SecretBytes.random(count: 32)
            let first = try X25519.sharedSecret(left, with: X25519.publicKey(for: right))
            #expect(try X25519.sharedSecret(right, with: X25519.publicKey(for: left)).isEqual(to: first))
        }
    }

    /// Section 2.8.2 has associated data, which age does not use: the ciphertext is the section's, and the tag is that of
    /// libsodium for the same key, nonce and text without associated data.
    @Test func `ChaCha20-Poly1305 of RFC 8439, section 2.8.2`() {
        let plaintext = Array(
            ("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
                + "sunscreen would be it.").utf8)
        let answer = bytes(
            """
            d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b
            1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
            3ff4def08e4b7a9de576d26586cec64b61166a23a4681fd59456aea1d29f82477216
            """)
        var cipher = ChaCha20Poly1305(key: secret(Array(0x80...0x9f)))
        let nonce = bytes("070000004041424344454647")
        var sealed = [UInt8](repeating: 0, count: plaintext.count + 16)
        // Twice, with an opening in between: a context that changes its direction stays right.
        for _ in 0..<2 {
            nonce.withUnsafeBytes { nonce in
                plaintext.withUnsafeBytes { plaintext in
                    sealed.withUnsafeMutableBytes { cipher.seal(nonce: nonce, plaintext: plaintext, into: $0) }
                }
            }
            #expect(sealed == answer)
            // In place.
            let isAuthentic = nonce.withUnsafeBytes { nonce in
                sealed.withUnsafeMutableBytes { sealed in
                    cipher.open(
                        nonce: nonce, ciphertext: UnsafeRawBufferPointer(sealed),
                        into: UnsafeMutableRawBufferPointer(rebasing: sealed[..<plaintext.count]))
                }
            }
            #expect(isAuthentic)
            #expect(Array(sealed[..<plaintext.count]) == plaintext)
        }
    }

    @Test func `Poly1305 of RFC 8439, section 2.5.2`() {
        let key = bytes("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
        let tag = key.withUnsafeBytes { key in
            Array("Cryptographic Forum Research Group".utf8).withUnsafeBytes { Poly1305.tag(of: $0, key: key) }
        }
        // a8061dc1305136c6 c22b8baf0c0127a9, each half read as a little-endian integer.
        #expect(tag == Poly1305.Tag(low: 0xc636_5130_c11d_06a8, high: 0xa927_010c_af8b_2bc2))
        // Of no bytes: the second half of the key.
        let empty = key.withUnsafeBytes { Poly1305.tag(of: UnsafeRawBufferPointer(start: nil, count: 0), key: $0) }
        #expect(empty == Poly1305.Tag(low: 0xfdb2_0dfb_8a80_0301, high: 0x1bf5_4941_aff6_bf4a))
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
