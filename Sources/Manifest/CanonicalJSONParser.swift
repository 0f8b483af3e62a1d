/// Reads RFC 8259 text that has only objects, arrays, strings and whole numbers.
///
/// Stricter than usual where two readers could understand a text differently: a member named twice, a comma too many, a
/// number with a sign, fraction or exponent, broken UTF-8 and half a surrogate pair are all refused.
package struct CanonicalJSONParser {
    private static let depthLimit = 8

    private let bytes: [UInt8]
    private let subject: String
    private var index = 0

    package static func parse(_ bytes: [UInt8], as subject: String = "the manifest") throws(ManifestError)
        -> CanonicalJSON
    {
        var parser = CanonicalJSONParser(bytes: bytes, subject: subject)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.index == bytes.count else { throw parser.error("has something behind its end") }
        return value
    }

    private init(bytes: [UInt8], subject: String) {
        self.bytes = bytes
        self.subject = subject
    }

    private mutating func value(depth: Int) throws(ManifestError) -> CanonicalJSON {
        guard depth < Self.depthLimit else { throw error("is nested too deeply") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return .object(try members(depth))
        case UInt8(ascii: "["): return .array(try items(depth))
        case UInt8(ascii: "\""): return .string(try string())
        case .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return .integer(try integer())
        default: throw error("is not JSON of objects, lists, strings and whole numbers")
        }
    }

    private mutating func members(_ depth: Int) throws(ManifestError) -> [String: CanonicalJSON] {
        index += 1
        var members: [String: CanonicalJSON] = [:]
        if takes("}") { return members }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw error("has a member without a name") }
            let name = try string()
            guard takes(":") else { throw error("has a member without a value") }
            let value = try value(depth: depth + 1)
            guard members.updateValue(value, forKey: name) == nil else { throw error("names a member twice") }
        } while takes(",")
        guard takes("}") else { throw error("has an object without an end") }
        return members
    }

    private mutating func items(_ depth: Int) throws(ManifestError) -> [CanonicalJSON] {
        index += 1
        var items: [CanonicalJSON] = []
        if takes("]") { return items }
        repeat { items.append(try value(depth: depth + 1)) } while takes(",")
        guard takes("]") else { throw error("has a list without an end") }
        return items
    }

    private mutating func integer() throws(ManifestError) -> UInt64 {
        let start = index
        while let digit = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) { index += 1 }
        let hasLeadingZero = bytes[start] == UInt8(ascii: "0") && index - start > 1
        let isFraction = next.map { Array(".eE".utf8).contains($0) } ?? false
        guard !hasLeadingZero, !isFraction, let value = UInt64(String(decoding: bytes[start..<index], as: UTF8.self))
        else {
            throw error("holds a number that is no whole number of 64 bits")
        }
        return value
    }

    private mutating func string() throws(ManifestError) -> String {
        index += 1
        var text: [UInt8] = []
        while let byte = next {
            index += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw error("holds text that is no UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): text += Array(String(try escape()).utf8)
            case 0..<0x20: throw error("has a control character in text")
            default: text.append(byte)
            }
        }
        throw error("has text without an end")
    }

    private mutating func escape() throws(ManifestError) -> Unicode.Scalar {
        let letter = next
        index += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(letter ?? 0)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw error("has an unknown escape")
        }
        var code = try hexadecimal()
        // A character beyond 16 bits is written as a high surrogate and a low one.
        if (0xd800..<0xdc00).contains(code), bytes[index...].starts(with: Array("\\u".utf8)) {
            index += 2
            let low = try hexadecimal()
            guard (0xdc00..<0xe000).contains(low) else { throw error("has half a surrogate pair") }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw error("has half a surrogate pair") }
        return scalar
    }

    private mutating func hexadecimal() throws(ManifestError) -> UInt32 {
        let digits = bytes[index...].prefix(4)
        let isHexadecimal = digits.count == 4 && digits.allSatisfy { Unicode.Scalar($0).properties.isASCIIHexDigit }
        guard isHexadecimal, let code = UInt32(String(decoding: digits, as: UTF8.self), radix: 16) else {
            throw error("has an unknown escape")
        }
        index += 4
        return code
    }

    // MARK: Bytes

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0a, 0x0d].contains(byte) { index += 1 }
    }

    /// Whether this comes next, white space apart; if so it is passed.
    private mutating func takes(_ character: Unicode.Scalar) -> Bool {
        skipSpace()
        guard next == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    private func error(_ reason: String) -> ManifestError {
        ManifestError(.malformed, "\(subject) \(reason), at byte \(min(index, bytes.count))")
    }
}
