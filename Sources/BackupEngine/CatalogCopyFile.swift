internal import AgeFormat
internal import CryptoPrimitives
internal import OrgKeys
internal import SeekableZstd

/// A copy of the catalog as it lies at a backend: lines of JSON, one zstd frame, behind it a skippable frame with a MAC, all of it
/// encrypted with age to the org's recipients. So `age -d | zstd -d` shows it. CatalogCopy.md describes it.
///
/// The MAC is checked before anything is decompressed or parsed: anybody can encrypt to a public key, so what decrypts may come
/// from anybody.
struct CatalogCopyFile: ~Copyable {
    /// Larger copies are neither made nor read: some 50,000 backups of one org.
    static let maximumByteCount = 32 << 20
    /// What one may decompress to, which nobody but the org's own hosts can make it exceed.
    private static let maximumContentByteCount = 1 << 30
    private static let level: Int32 = 3

    /// Of the skippable frame, as Seek tables have 0x184D2A5E.
    private static let magic: [UInt8] = [0x5c, 0x2a, 0x4d, 0x18]
    private static let sealByteCount = 8 + HMACSHA256.byteCount
    private static let sealInfo = Array("holdfast/catalog/v1".utf8)

    private var compressor = StreamCompressor(level: level)
    private var compressed: [UInt8] = []

    /// Adds a line.
    mutating func append(_ line: CatalogCopyLine) throws {
        var output: [UInt8] = []
        try line.bytes.withUnsafeBytes { try compressor.update($0) { output += $0 } }
        compressed += output
        guard compressed.count <= Self.maximumByteCount else { throw Self.tooLarge }
    }

    private static var tooLarge: EngineError {
        EngineError(
            .catalog, "a copy of the catalog takes more than \(maximumByteCount >> 20) MiB",
            hint: "the sidecars beside the archives are what there is then: `holdfast catalog rebuild`")
    }

    /// Ends, seals and encrypts it.
    consuming func sealed(with sealKey: SecretBytes, to recipients: [AgeRecipient]) throws -> [UInt8] {
        var plaintext = compressed
        try compressor.finish { plaintext += $0 }
        guard plaintext.count <= Self.maximumByteCount else { throw Self.tooLarge }
        let code = plaintext.withUnsafeBytes {
            HMACSHA256.authenticationCode(for: $0, key: Self.key(from: sealKey))
        }
        plaintext += Self.magic + [UInt8(HMACSHA256.byteCount), 0, 0, 0] + code
        return try Age.encrypt(plaintext, to: recipients)
    }

    /// HKDF of the seal key, which write-only hosts have, too: what is sealed as a manifest is no copy, and the other way round.
    private static func key(from sealKey: SecretBytes) -> SecretBytes {
        HKDFSHA256.deriveKey(from: sealKey, salt: [], info: sealInfo, count: 32)
    }

    /// Decrypts and authenticates a copy; gives its zstd frame. Throws `.wrongKey` or `.notAuthentic`.
    static func open(_ bytes: [UInt8], key: OrgKey) throws(EngineError) -> [UInt8] {
        var plaintext: [UInt8]
        do {
            plaintext = try Age.decrypt(
                bytes, identities: key.identities, maximumByteCount: maximumByteCount + sealByteCount)
        } catch {
            throw EngineError(
                error.code == .noMatch ? .wrongKey : .notAuthentic, "the copy does not open: \(error)", cause: error)
        }
        let seal = Array(plaintext.suffix(sealByteCount))
        guard plaintext.count > sealByteCount, seal.starts(with: magic + [UInt8(HMACSHA256.byteCount), 0, 0, 0]) else {
            throw EngineError(.notAuthentic, "the copy has no seal")
        }
        plaintext.removeLast(sealByteCount)
        let code = Array(seal.suffix(HMACSHA256.byteCount))
        let isValid = key.sealKeys.contains { sealKey in
            plaintext.withUnsafeBytes { HMACSHA256.isValid(code, for: $0, key: Self.key(from: sealKey)) }
        }
        guard isValid else {
            throw EngineError(.notAuthentic, "the copy is not authentic: changed, or made without the org's key")
        }
        return plaintext
    }

    /// Decompresses an authentic frame and calls `body` with each line, in order.
    static func forEachLine(_ frame: [UInt8], _ body: ([UInt8]) throws -> Void) throws {
        var decompressor = DocumentDecompressor()
        var line: [UInt8] = []
        var count = 0
        func take(_ bytes: UnsafeRawBufferPointer) throws {
            count += bytes.count
            guard count <= maximumContentByteCount else {
                throw EngineError(.damaged, "the copy's content is too large")
            }
            var rest = bytes[...]
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                line += rest[..<end]
                try body(line)
                line.removeAll(keepingCapacity: true)
                rest = rest[(end + 1)...]
            }
            line += rest
            guard line.count <= CatalogCopyLine.maximumByteCount else {
                throw EngineError(.damaged, "a line of the copy is too long")
            }
        }
        try frame.withUnsafeBytes { try decompressor.update($0, into: take) }
        try decompressor.finish()
        guard line.isEmpty else { throw EngineError(.damaged, "the copy's last line has no end") }
    }
}
