import Storage
import Testing

@Suite struct ObjectKeyTests {
    @Test(arguments: [
        "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a\nb", "a/\u{7f}", "\u{85}",
        String(repeating: "x", count: 256), "ü" + String(repeating: "x", count: 254),
        Array(repeating: String(repeating: "x", count: 255), count: 5).joined(separator: "/"),
    ])
    func `what could leave the store or confuse a listing is no key`(string: String) {
        #expect { try ObjectKey(string) } throws: { ($0 as? StorageError)?.code == .invalidKey }
    }

    @Test(arguments: ["a", "...", ".a", "a b", "日本/é", String(repeating: "x", count: 255)])
    func `everything else is a key`(string: String) throws {
        #expect(try ObjectKey(string).string == string)
        #expect(try ObjectKey(components: ObjectKey(string).components) == ObjectKey(string))
    }

    @Test func `a component with a slash is refused`() {
        #expect { try ObjectKey(components: ["a/b"]) } throws: { ($0 as? StorageError)?.code == .invalidKey }
        #expect { try ObjectKey(components: []) } throws: { ($0 as? StorageError)?.code == .invalidKey }
    }

    @Test func `keys are equal and sorted by bytes`() throws {
        #expect(try ObjectKey("\u{e9}") != ObjectKey("e\u{301}"))
        #expect(try Set([ObjectKey("\u{e9}"), ObjectKey("e\u{301}")]).count == 2)
        #expect(try ObjectKey("e\u{301}") < ObjectKey("\u{e9}"))
        #expect(try ObjectKey("a.b") < ObjectKey("a/b"))
    }
}
