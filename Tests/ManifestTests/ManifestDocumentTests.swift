import AgeFormat
import BackupNames
import CryptoPrimitives
import Foundation
import Manifest
import Testing

/// Holds Manifest.md to the code: its example is computed again, its table is compared with what is written.
@Suite("Manifest format document", .timeLimit(.minutes(1)))
struct ManifestDocumentTests {
    private let page: String
    private let identity: AgeIdentity

    init() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let path = tests.deletingLastPathComponent().path + "/Sources/Manifest/Manifest.docc/Manifest.md"
        page = try String(contentsOfFile: path, encoding: .utf8)
        identity = try Self.identity(in: page)
    }

    private static func identity(in page: String) throws -> AgeIdentity {
        let text = Array(try value("identity", in: page).utf8)
        return try text.withUnsafeBytes { try AgeIdentity(bech32: $0) }
    }

    /// The code in the last column of the example's row of that name.
    private static func value(_ name: String, in page: String) throws -> String {
        let row = try #require(page.split(separator: "\n").first { $0.hasPrefix("| \(name) |") })
        return String(try #require(row.split(separator: "`").dropFirst().first))
    }

    /// The count in the second column of that row.
    private func byteCount(_ name: String) throws -> Int {
        let row = try #require(page.split(separator: "\n").first { $0.hasPrefix("| \(name) |") })
        return try #require(Int(row.split(separator: "|")[1].trimmingCharacters(in: .whitespaces)))
    }

    /// The fenced text of that language, with its last line feed.
    private func text(_ language: String) throws -> String {
        let start = try #require(page.range(of: "```\(language)\n")).upperBound
        let end = try #require(page.range(of: "```", range: start..<page.endIndex)).lowerBound
        return String(page[start..<end])
    }

    /// Names in the first column of the tables between two headings.
    private func members(from heading: String, to other: String) throws -> [String] {
        let start = try #require(page.range(of: heading)).upperBound
        let end = try #require(page.range(of: other, range: start..<page.endIndex)).lowerBound
        return page[start..<end].split(separator: "\n").filter { $0.hasPrefix("| `") }
            .map { String($0.split(separator: "`")[1]) }
    }

    private var sealKey: SecretBytes {
        HKDFSHA256.deriveKey(
            from: identity.secretKey, salt: [], info: Array("holdfast/manifest/v1".utf8), count: 32)
    }

    @Test func `the seal key of the example is the one derived from its identity`() throws {
        #expect(identity.secretKey.isEqual(to: SecretBytes(Array(0..<32))))
        let derived = sealKey.withUnsafeBytes { SHA256Digest($0) }.hexadecimal
        #expect(try derived == Self.value("seal key", in: page))
    }

    @Test func `the MAC of the example is that of its canonical form`() throws {
        let canonical = String(try text("text").dropLast())
        #expect(try canonical.utf8.count == byteCount("canonical form"))
        #expect(try authenticationCode(ofCanonical: canonical, sealKey) == Self.value("MAC", in: page))
    }

    @Test func `the example is authentic, and sealing its facts again gives the same bytes`() throws {
        let bytes = Array(try text("json").utf8)
        #expect(try bytes.count == byteCount("manifest"))
        let manifest = try Manifest(verifying: bytes, sealKeys: [sealKey])
        #expect(manifest.recipients == [identity.recipient.string])
        #expect(manifest.createdAt == manifest.identifier.date.secondsSince1970)
        #expect(manifest.sealed(with: sealKey) == bytes)
    }

    @Test func `the tables list the members that are written, and no others`() throws {
        let sealed = try Manifest.sample().sealed(with: sealKey)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(sealed)) as? [String: Any])
        #expect(try members(from: "### Members", to: "Each of `partitions`") == object.keys.sorted())
        let partition = try #require((object["partitions"] as? [[String: Any]])?.first)
        #expect(try members(from: "Each of `partitions`", to: "### Text") == partition.keys.sorted())
    }
}
