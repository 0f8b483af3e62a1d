import CryptoPrimitives
import Testing

@Suite("scrypt", .timeLimit(.minutes(1)))
struct ScryptTests {
    /// RFC 7914, section 12; its fourth vector takes 1 GiB.
    @Test(arguments: [
        (
            "", "", UInt64(16), UInt64(1), UInt64(1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        ),
        (
            "password", "NaCl", 1024, 8, 16,
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        ),
        (
            "pleaseletmein", "SodiumChloride", 16384, 8, 1,
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
        ),
    ])
    func `the vectors of its specification`(
        passphrase: String, salt: String, cost: UInt64, blockSize: UInt64, parallelism: UInt64, expected: String
    ) throws {
        let secret = Array(passphrase.utf8).withUnsafeBytes { SecretBytes(copying: $0) }
        let key = try Scrypt.deriveKey(
            from: secret, salt: Array(salt.utf8), cost: cost, blockSize: blockSize, parallelism: parallelism, count: 64)
        let digits = key.withUnsafeBytes { $0.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
        #expect(digits == expected)
    }
}
