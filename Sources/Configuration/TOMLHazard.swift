/// What toml++ 3 ends the process for, by an assertion, instead of refusing it: found before it sees the text.
///
/// - a table's name that starts with what no key starts with (`[-` is one, `[=` is not),
/// - `}` in a list where a value is wanted, and line separators of Unicode there: all characters beyond ASCII are refused that
///   stand outside texts and comments, for TOML has none there,
/// - dates that break off (`1979-05-27T` and no digit, `1979-05-27 0`): no key of ours takes a date, so all of them are refused.
///
/// The scan knows as much of TOML as tells texts, comments, lists and tables apart. It need not be right behind the first error:
/// there toml++ stops too.
struct TOMLHazard: Equatable {
    let line: Int
    let detail: String

    /// The first in a text; nil where toml++ may have it.
    static func first(in text: String) -> TOMLHazard? {
        var scan = Scan(bytes: Array(text.utf8))
        return scan.run()
    }
}

private struct Scan {
    let bytes: [UInt8]
    private var index = 0
    private var line = 1
    /// The brackets and braces of values that are open.
    private var open: [UInt8] = []
    private var isAtStatement = true
    /// The last byte that is no blank, outside texts.
    private var previous: UInt8 = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func run() -> TOMLHazard? {
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { index = 3 }
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\n"): passLineEnd()
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): index += 1
            case UInt8(ascii: "#"): while let byte = next, byte != UInt8(ascii: "\n") { index += 1 }
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                guard passText(byte) else { return nil }
                note(byte)
            case 0x80...: return hazard("a character that only a text in quotes may hold")
            default:
                if let hazard = pass(byte) { return hazard }
            }
        }
        return nil
    }

    /// A byte outside texts and comments that is no blank.
    private mutating func pass(_ byte: UInt8) -> TOMLHazard? {
        if isAtStatement, byte == UInt8(ascii: "[") { return passHeader() }
        let isValue =
            previous == UInt8(ascii: "=") || (isInList && (previous == open.last || previous == UInt8(ascii: ",")))
        if isValue, isDate { return hazard("a date, which no key takes; a name is put in quotes") }
        switch byte {
        case UInt8(ascii: "["), UInt8(ascii: "{"): open.append(byte)
        case UInt8(ascii: "]"): if isInList { open.removeLast() }
        case UInt8(ascii: "}"):
            guard !isInList else { return hazard("a list that is ended by a brace") }
            _ = open.popLast()
        default: break
        }
        index += 1
        note(byte)
        return nil
    }

    /// `[` or `[[` at the start of a statement, up to the key behind it.
    private mutating func passHeader() -> TOMLHazard? {
        isAtStatement = false
        index += 1
        skipBlanks()
        if next == UInt8(ascii: "[") {
            index += 1
            skipBlanks()
        }
        guard let first = next else { return nil }
        let isKey =
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first | 0x20) || (0x30...0x39).contains(first)
            || "-_\"']".utf8.contains(first)
        return isKey ? nil : hazard("a table's name starts with an unexpected character")
    }

    /// False for a text without an end, which toml++ refuses.
    private mutating func passText(_ quote: UInt8) -> Bool {
        let isLong = bytes[index...].starts(with: [quote, quote, quote])
        index += isLong ? 3 : 1
        while let byte = next {
            if byte == UInt8(ascii: "\n") {
                guard isLong else { return false }
                line += 1
            } else if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\"") {
                // What is escaped may be the end of a line.
                index += 1
                if next == UInt8(ascii: "\n") { line += 1 }
            } else if byte == quote, !isLong {
                index += 1
                return true
            } else if isLong, bytes[index...].starts(with: [quote, quote, quote]) {
                // Up to two quotes before the last three are of the text.
                let count = bytes[index...].prefix(5).prefix { $0 == quote }.count
                index += count
                return true
            }
            index += 1
        }
        return false
    }

    /// Ten characters that toml++ may take for a date's: it looks at the first and the two hyphens, underscores left out, and passes
    /// over what else is between them. No number has hyphens in both places. It looks ahead at 127 characters at most.
    private var isDate: Bool {
        let characters = bytes[index...].prefix(256).filter { $0 != UInt8(ascii: "_") }.prefix(10)
        guard characters.count == 10, let first = characters.first, (0x30...0x39).contains(first) else { return false }
        return characters[4] == UInt8(ascii: "-") && characters[7] == UInt8(ascii: "-")
    }

    // MARK: Bytes

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }
    private var isInList: Bool { open.last == UInt8(ascii: "[") }

    private mutating func skipBlanks() {
        while let byte = next, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") { index += 1 }
    }

    private mutating func passLineEnd() {
        index += 1
        line += 1
        if open.isEmpty {
            isAtStatement = true
            previous = 0
        }
    }

    private mutating func note(_ byte: UInt8) {
        previous = byte
        isAtStatement = false
    }

    private func hazard(_ detail: String) -> TOMLHazard { TOMLHazard(line: line, detail: detail) }
}
