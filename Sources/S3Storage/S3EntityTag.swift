internal import CryptoPrimitives
internal import HTTPTransport

/// Entity tags as AWS makes them, without their quotes.
enum S3EntityTag {
    static func of(_ response: HTTPResponse) -> String? { response.header("etag").map(trimmed) }

    static func trimmed(_ text: String) -> String {
        var tag = Substring(text)
        if tag.hasPrefix("W/") { tag = tag.dropFirst(2) }
        return tag.filter { $0 != "\"" }
    }

    static func ofObject(_ bytes: [UInt8]) -> String { hexadecimal(MD5.digest(of: bytes)) }

    static func ofObject(_ bytes: UnsafeRawBufferPointer) -> String { hexadecimal(MD5.digest(of: bytes)) }

    /// The MD5 of the parts' MD5s and their number; nil if the tag of a part is no MD5.
    static func ofParts(_ tags: [String]) -> String? {
        var digests: [UInt8] = []
        for tag in tags {
            let digits = Array(tag.utf8)
            guard digits.count == 32 else { return nil }
            for index in stride(from: 0, to: 32, by: 2) {
                guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                    return nil
                }
                digests.append(byte)
            }
        }
        return hexadecimal(MD5.digest(of: digests)) + "-\(tags.count)"
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
