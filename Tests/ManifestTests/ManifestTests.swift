import BackupNames
import CryptoPrimitives
import Foundation
import Manifest
import Testing

@Suite("Manifest")
struct ManifestTests {
    private let sealKey = SecretBytes(Array(0..<32))

    /// Valid canonical text without `mac`, member by member.
    private static let members: [(name: String, value: String)] = [
        ("archive_sha256", "\"" + String(repeating: "a", count: 64) + "\""), ("archive_size", "123"),
        ("backend", "\"local\""),
        ("consistency", "\"none\""), ("country", "\"NL\""), ("created_at", "1795140000"),
        ("date", "\"2026-11-20T02-00-00Z\""),
        ("disk", "\"disk\""), ("format", "1"), ("frame_size", "1048576"),
        ("header_sha256", "\"" + String(repeating: "b", count: 64) + "\""), ("org", "\"acme\""),
        ("partitions", #"[{"name":"root","number":1,"offset":1048576,"size":512,"type":"0x83"}]"#),
        ("raw_sha256", "\"" + String(repeating: "c", count: 64) + "\""), ("raw_size", "456"),
        ("recipients", #"["age1x"]"#),
        ("region", "\"eu\""), ("seek_table_sha256", "\"" + String(repeating: "d", count: 64) + "\""),
        ("tool", "\"holdfast\""), ("upload_ms", "7"), ("vm", "\"web01\""), ("zstd_level", "3"),
    ]

    private static func canonical(_ members: [(name: String, value: String)]) -> String {
        "{" + members.map { "\"\($0.name)\":\($0.value)" }.joined(separator: ",") + "}"
    }

    /// The text with a MAC that fits, as its last member.
    private func sealed(_ canonical: String, code: String? = nil) -> [UInt8] {
        let code = code ?? authenticationCode(ofCanonical: canonical, sealKey)
        return Array((canonical.dropLast() + ",\"mac\":\"\(code)\"}").utf8)
    }

    private func code(_ bytes: [UInt8]) -> ManifestError.Code? {
        do throws(ManifestError) {
            _ = try Manifest(verifying: bytes, sealKeys: [sealKey])
            return nil
        } catch {
            return error.code
        }
    }

    private func replacing(_ name: String, _ value: String?) -> String {
        Self.canonical(Self.members.compactMap { $0.name == name ? value.map { (name, $0) } : $0 })
    }

    @Test func `what was sealed comes back whole`() throws {
        var manifest = try Manifest.sample()
        #expect(try Manifest(verifying: manifest.sealed(with: sealKey), sealKeys: [sealKey]) == manifest)
        #expect(try Manifest(unverified: manifest.sealed(with: sealKey)) == manifest)
        manifest.region = nil
        manifest.country = nil
        manifest.partitions = []
        manifest.generation = 0
        manifest.archiveObject = nil
        manifest.dataByteCount = nil
        for name in ["generation", "archive_object", "data_size"] {
            #expect(!String(decoding: manifest.sealed(with: sealKey), as: UTF8.self).contains(name))
        }
        manifest.recipients = []
        manifest.rawByteCount = .max
        manifest.archiveByteCount = 0
        #expect(try Manifest(verifying: manifest.sealed(with: sealKey), sealKeys: [sealKey]) == manifest)
    }

    @Test func `the code is HMAC-SHA-256 over the sorted members without white space`() throws {
        let bytes = sealed(Self.canonical(Self.members))
        let manifest = try Manifest(verifying: bytes, sealKeys: [sealKey])
        #expect(manifest.rawByteCount == 456)
        #expect(manifest.partitions.first?.name == "root")
        let printed = String(decoding: manifest.sealed(with: sealKey), as: UTF8.self)
        #expect(printed.contains(authenticationCode(ofCanonical: Self.canonical(Self.members), sealKey)))
    }

    @Test func `white space and the order of members do not matter`() throws {
        let code = authenticationCode(ofCanonical: Self.canonical(Self.members), sealKey)
        let lines = (Self.members.reversed() + [("mac", "\"\(code)\"")]).map { " \"\($0.name)\" :\t\($0.value)\r\n" }
        #expect(self.code(Array(("\n{" + lines.joined(separator: ",") + "}  ").utf8)) == nil)
    }

    @Test(arguments: members.map(\.name))
    func `a changed member is not authentic`(_ name: String) throws {
        let value = try #require(Self.members.first { $0.name == name }?.value)
        let code = authenticationCode(ofCanonical: Self.canonical(Self.members), sealKey)
        // The last digit or letter of the value, whatever kind it is.
        let index = try #require(value.lastIndex { $0.isNumber || $0.isLetter })
        let other = value[index] == "1" ? "2" : "1"
        let changed = value.replacingCharacters(in: index...index, with: other)
        #expect(self.code(sealed(replacing(name, changed), code: code)) == .notAuthentic)
        #expect(self.code(sealed(replacing(name, nil), code: code)) == .notAuthentic)
    }

    @Test func `each changed bit of a sealed manifest is noticed`() throws {
        let original = try Manifest.sample()
        let bytes = original.sealed(with: sealKey)
        for index in bytes.indices {
            var changed = bytes
            changed[index] ^= 1 << UInt8.random(in: 0..<8)
            // A space that becomes a tab says the same: then the facts are the same too.
            guard let manifest = try? Manifest(verifying: changed, sealKeys: [sealKey]) else { continue }
            #expect(manifest == original, "byte \(index)")
        }
    }

    @Test func `a manifest cut anywhere is refused`() throws {
        let bytes = try Manifest.sample().sealed(with: sealKey)
        // Without its last line feed it is whole.
        for count in 0..<bytes.count - 1 { #expect(code(Array(bytes[..<count])) == .malformed, "\(count) bytes") }
    }

    @Test func `another org's seal key does not fit`() throws {
        let bytes = try Manifest.sample().sealed(with: SecretBytes(Array(1...32)))
        #expect(code(bytes) == .notAuthentic)
    }

    @Test(arguments: [
        #""mac":"""#, #""mac":7"#, #""mac":["00"]"#, "\"mac\":\"" + String(repeating: "0", count: 64) + "\"",
        "\"mac\":\"" + String(repeating: "0", count: 63) + "\"",
        "\"mac\":\"" + String(repeating: "g", count: 64) + "\"",
        #""max":"00""#,
    ])
    func `a missing or malformed code is not authentic`(_ member: String) {
        let text = Self.canonical(Self.members).dropLast() + "," + member + "}"
        #expect(code(Array(text.utf8)) == .notAuthentic)
    }

    @Test func `members of a later minor revision are covered by the code and else ignored`() throws {
        let more = Self.members + [("zz_new", #"{"a":[1,"x"],"b":{}}"#)]
        #expect(code(sealed(Self.canonical(more))) == nil)
        let other = Self.members + [("zz_new", #"{"a":[2,"x"],"b":{}}"#)]
        let code = authenticationCode(ofCanonical: Self.canonical(more), sealKey)
        #expect(self.code(sealed(Self.canonical(other), code: code)) == .notAuthentic)
        #expect(self.code(sealed(Self.canonical(Self.members), code: code)) == .notAuthentic)
    }

    @Test(arguments: ["0", "2", "18446744073709551615"])
    func `another format is refused by name, once it is known to be authentic`(_ format: String) {
        #expect(code(sealed(replacing("format", format))) == .unsupportedVersion)
        #expect(code(sealed(replacing("format", format), code: String(repeating: "0", count: 64))) == .notAuthentic)
    }

    @Test(arguments: [
        "", " ", "{", "}", "[]", "7", "\"text\"", "null", "{}x", "{\"a\":1,}", "{'a':1}", "{\"a\" 1}", "{\"a\":01}",
        "{\"a\":\"\u{1}\"}", "{\"a\":\"\\x\"}", "{\"a\":1}{\"a\":1}", "\u{feff}{\"a\":1}x", "nul",
        String(repeating: "[", count: 100_000),
        "{\"a\":" + String(repeating: "[", count: 9) + String(repeating: "]", count: 9) + "}",
    ])
    func `text that is no JSON object is malformed`(_ text: String) {
        #expect(code(Array(text.utf8)) == .malformed)
    }

    @Test func `text may be written with any escape, and is what it says`() throws {
        let text = #"\u0041\"\\\/\b\f\n\r\t\u00e9\u65e5\ud83d\ude00\u0000é😀"#
        let canonical = #"A\"\\/\u0008\u000c\u000a\u000d\u0009é日😀\u0000é😀"#
        let bytes = sealed(
            replacing("tool", "\"\(text)\""),
            code: authenticationCode(ofCanonical: replacing("tool", "\"\(canonical)\""), sealKey))
        #expect(try Manifest(verifying: bytes, sealKeys: [sealKey]).toolVersion == "A\"\\/\u{8}\u{c}\n\r\té日😀\0é😀")
    }

    @Test(arguments: [#"\ud83d"#, #"\ude00"#, #"\ud83dx"#, #"\ud83d\u0041"#, #"\u12"#, #"\u+123"#, #"\q"#, #"\"#])
    func `half a character is malformed`(_ text: String) {
        #expect(code(Array("{\"a\":\"\(text)\"}".utf8)) == .malformed)
    }

    @Test func `bytes that are no UTF-8 are malformed`() {
        #expect(code(Array("{\"a\":\"".utf8) + [0xff, 0xfe] + Array("\"}".utf8)) == .malformed)
        #expect(code([0, 1, 2, 3]) == .malformed)
    }

    @Test(arguments: [
        "-1", "-0", "1.5", "1.0", "456.0", "1e3", "4E2", "18446744073709551616", "99999999999999999999999", "null",
        "true",
        "false", "NaN", "Infinity", "0x10",
    ])
    func `a value that is neither text nor a whole number is malformed`(_ value: String) {
        #expect(code(sealed(replacing("raw_size", value))) == .malformed)
        #expect(code(sealed(Self.canonical(Self.members + [("zz_new", "[\(value)]")]))) == .malformed)
    }

    @Test func `a member named twice is malformed, for readers would differ about it`() {
        let twice = Self.canonical(Self.members).dropLast() + ",\"zz\":1,\"zz\":2}"
        #expect(code(sealed(String(twice))) == .malformed)
    }

    @Test(arguments: members.map(\.name).filter { !["region", "country"].contains($0) })
    func `a missing member, or one of another type, is malformed though authentic`(_ name: String) {
        #expect(code(sealed(replacing(name, nil))) == .malformed)
        #expect(code(sealed(replacing(name, "{}"))) == .malformed)
    }

    @Test(arguments: [
        ("org", "\"..\""), ("vm", "\"a/b\""), ("disk", "\"\""), ("backend", "\"a:b\""),
        ("date", "\"2026-11-31T02-00-00Z\""),
        ("zstd_level", "9223372036854775808"), ("created_at", "9223372036854775808"), ("raw_sha256", "\"00\""),
        ("region", "7"), ("recipients", "[7]"), ("partitions", "[7]"), ("partitions", "[{}]"),
        ("partitions", #"[{"name":"","number":9223372036854775808,"offset":0,"size":0,"type":""}]"#),
    ])
    func `a value that cannot be is malformed though authentic`(_ name: String, _ value: String) {
        #expect(code(sealed(replacing(name, value))) == .malformed)
    }

    @Test func `what is shown is the sealed manifest once its checks are taken away`() throws {
        let key = SecretBytes([UInt8](repeating: 7, count: 32))
        let sealed = try Manifest.sample().sealed(with: key)
        let check = ManifestCheck(
            depth: "raw", outcome: "damaged", detail: "frame \"3\"", checkedAt: "2026-11-23T00-00-00Z", goodAt: nil)
        let shown = try Manifest.shown(sealed, checks: [check])
        let text = String(decoding: shown, as: UTF8.self)
        #expect(text.contains("\"outcome\": \"damaged\""))
        #expect(throws: ManifestError.self) { _ = try Manifest(verifying: shown, sealKeys: [key]) }
        var members = try #require(
            JSONSerialization.jsonObject(with: Data(shown)) as? [String: Any])
        members["checks"] = nil
        let rest = try JSONSerialization.data(withJSONObject: members)
        #expect(try Manifest(verifying: Array(rest), sealKeys: [key]) == Manifest.sample())
    }
}
