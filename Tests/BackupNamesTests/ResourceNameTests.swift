import BackupNames
import Testing

@Suite("Names")
struct ResourceNameTests {
    @Test(arguments: [
        "a", "web01.example.com", "Größe", "日本", "with space", "-x", "a..b", "a.", "Latest", "staging2", "ends.raw",
        String(repeating: "x", count: 200), String(repeating: "é", count: 100),
    ])
    func `a usable name keeps its text`(_ text: String) throws {
        #expect(try ResourceName(text).description == text)
    }

    @Test(arguments: [
        ("", "is empty"),
        (String(repeating: "x", count: 201), "is longer than 200 bytes"),
        (String(repeating: "é", count: 101), "is longer than 200 bytes"),
        ("a/b", "contains \"/\""), ("/", "contains \"/\""), ("a/\u{301}b", "contains \"/\""),
        ("a:b", "contains \":\""), ("a:\u{301}b", "contains \":\""),
        ("a\0b", "contains a control character"), ("a\nb", "contains a control character"),
        ("a\r\nb", "contains a control character"), ("\u{7f}", "contains a control character"),
        ("a\u{85}", "contains a control character"), ("a\t", "contains a control character"),
        (".", "starts with a dot"), ("..", "starts with a dot"), (".hidden", "starts with a dot"),
        (".\u{301}x", "starts with a dot"),
        (" a", "starts or ends with white space"), ("a ", "starts or ends with white space"),
        ("a\u{a0}", "starts or ends with white space"), ("\u{3000}a", "starts or ends with white space"),
        (" ", "starts or ends with white space"),
        ("latest", "is a name the mount uses itself"), ("staging", "is a name the mount uses itself"),
    ])
    func `an unusable name is refused with its reason`(_ text: String, _ reason: String) {
        #expect(throws: NameError(text, reason)) { try ResourceName(text) }
    }

    @Test func `names that differ in bytes are different names, as they are to a file system`() throws {
        let composed = try ResourceName("caf\u{e9}")
        let decomposed = try ResourceName("cafe\u{301}")
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(composed == (try ResourceName("caf\u{e9}")))
    }

    @Test func `names are ordered by their bytes`() throws {
        let names = try ["b", "a", "Z", "é", "a1", "a-"].map { try ResourceName($0) }
        #expect(names.sorted().map(\.description) == ["Z", "a", "a-", "a1", "b", "é"])
    }
}
