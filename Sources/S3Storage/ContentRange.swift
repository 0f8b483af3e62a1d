/// The header `Content-Range: bytes 0-99/1234` (RFC 9110, section 14.4).
struct ContentRange: Hashable {
    let range: Range<UInt64>
    let total: UInt64

    init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 2, words[0].lowercased() == "bytes" else { return nil }
        let parts = words[1].split(whereSeparator: { $0 == "-" || $0 == "/" })
        guard parts.count == 3, let first = UInt64(parts[0]), let last = UInt64(parts[1]), let total = UInt64(parts[2]),
            first <= last, last < total
        else { return nil }
        range = first..<last + 1
        self.total = total
    }
}
