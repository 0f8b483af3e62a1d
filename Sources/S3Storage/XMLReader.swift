/// Reads a document of XML 1.0 as servers of S3 write them: elements, text, CDATA, comments and processing instructions in
/// UTF-8, of limited depth. Attributes are passed over.
///
/// Ours, because the parser of FoundationXML ends the process for some texts (a name that is no UTF-8, `<?a?>`), and expands the
/// entities of a document type. There is no document type here: what has one is refused. Control characters are taken as they
/// are written, also as references: keys of others may hold them, and one such key must not cost the listing.
///
/// The time and memory are those of one pass: no text is larger than what it was read from.
struct XMLReader {
    /// S3's documents are four deep; what is deeper is none.
    private static let depthLimit = 16

    private struct Element {
        let qualifiedName: ArraySlice<UInt8>
        var text: [UInt8] = []
        var children: [XMLTree] = []
    }

    private let bytes: [UInt8]
    private var index = 0
    private var open: [Element] = []
    private var root: XMLTree?

    /// nil for what is not well-formed.
    static func read(_ bytes: [UInt8]) -> XMLTree? {
        var reader = XMLReader(bytes: bytes)
        guard reader.run() else { return nil }
        return reader.root
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func run() -> Bool {
        guard String(validating: bytes, as: UTF8.self) != nil else { return false }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { index = 3 }
        skipBlanks()
        guard passDeclaration() else { return false }
        while index < bytes.count {
            let isRead =
                if bytes[index] != UInt8(ascii: "<") {
                    readText()
                } else if takes("<!--") {
                    passTo("-->") != nil
                } else if takes("<![CDATA[") {
                    readVerbatim()
                } else if takes("<?") {
                    passTo("?>") != nil
                } else if takes("</") {
                    readEnd()
                } else {
                    readStart()
                }
            guard isRead else { return false }
        }
        return open.isEmpty && root != nil
    }

    // MARK: Markup

    /// `<?xml …?>`: another encoding than UTF-8 is refused.
    private mutating func passDeclaration() -> Bool {
        guard takes("<?xml") else { return true }
        guard let content = passTo("?>") else { return false }
        let words = String(decoding: content, as: UTF8.self).lowercased()
        return !words.contains("encoding") || words.contains("utf-8") || words.contains("us-ascii")
    }

    private mutating func readStart() -> Bool {
        index += 1
        guard let name = takeName(), root == nil, open.count < Self.depthLimit else { return false }
        open.append(Element(qualifiedName: name))
        while true {
            let start = index
            skipBlanks()
            if takes("/>") { return close() }
            if takes(">") { return true }
            guard index > start, passAttribute() else { return false }
        }
    }

    private mutating func passAttribute() -> Bool {
        guard takeName() != nil else { return false }
        skipBlanks()
        guard takes("=") else { return false }
        skipBlanks()
        for quote in ["\"", "'"] where takes(quote) {
            return passTo(quote).map { !$0.contains(UInt8(ascii: "<")) } ?? false
        }
        return false
    }

    private mutating func readEnd() -> Bool {
        guard let name = takeName(), open.last?.qualifiedName == name else { return false }
        skipBlanks()
        return takes(">") && close()
    }

    private mutating func close() -> Bool {
        guard let element = open.popLast() else { return false }
        // A prefix says nothing here: `s3:Key` is `Key`.
        let name = element.qualifiedName.split(separator: UInt8(ascii: ":")).last ?? element.qualifiedName
        let tree = XMLTree(
            name: String(decoding: name, as: UTF8.self), text: String(decoding: element.text, as: UTF8.self),
            children: element.children)
        if open.isEmpty { root = tree } else { open[open.count - 1].children.append(tree) }
        return true
    }

    // MARK: Text

    /// Up to the next markup. Outside the root there are blanks only.
    private mutating func readText() -> Bool {
        guard !open.isEmpty else {
            skipBlanks()
            return index == bytes.count || bytes[index] == UInt8(ascii: "<")
        }
        while index < bytes.count, bytes[index] != UInt8(ascii: "<") {
            if bytes[index] == UInt8(ascii: "&") {
                guard let character = takeReference() else { return false }
                open[open.count - 1].text += Array(String(character).utf8)
            } else {
                let end =
                    bytes[index...].firstIndex { $0 == UInt8(ascii: "<") || $0 == UInt8(ascii: "&") } ?? bytes.count
                append(bytes[index..<end])
                index = end
            }
        }
        return true
    }

    private mutating func readVerbatim() -> Bool {
        guard !open.isEmpty, let content = passTo("]]>") else { return false }
        append(content)
        return true
    }

    /// A line's end is one line feed, however it is written (section 2.11).
    private mutating func append(_ content: ArraySlice<UInt8>) {
        var isAfterReturn = false
        for byte in content {
            let isReturn = byte == UInt8(ascii: "\r")
            if !isAfterReturn || byte != UInt8(ascii: "\n") {
                open[open.count - 1].text.append(isReturn ? UInt8(ascii: "\n") : byte)
            }
            isAfterReturn = isReturn
        }
    }

    /// `&amp;`, `&#38;`, `&#x26;` and the like; there are no other entities than the five.
    private mutating func takeReference() -> Unicode.Scalar? {
        // The longest is `#x0010FFFF`, or has zeros before it that nobody writes.
        guard let end = bytes[index...].prefix(16).firstIndex(of: UInt8(ascii: ";")) else { return nil }
        let name = String(decoding: bytes[(index + 1)..<end], as: UTF8.self)
        index = end + 1
        switch name {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default: break
        }
        guard name.hasPrefix("#") else { return nil }
        let isHexadecimal = name.hasPrefix("#x")
        let digits = name.dropFirst(isHexadecimal ? 2 : 1)
        // `UInt32` takes a sign.
        guard digits.utf8.first != UInt8(ascii: "+"), let code = UInt32(digits, radix: isHexadecimal ? 16 : 10),
            code > 0
        else { return nil }
        return Unicode.Scalar(code)
    }

    // MARK: Bytes

    private mutating func takes(_ text: String) -> Bool {
        guard bytes[index...].starts(with: text.utf8) else { return false }
        index += text.utf8.count
        return true
    }

    /// What is before the next `end`, which is passed too; nil where there is none.
    private mutating func passTo(_ end: String) -> ArraySlice<UInt8>? {
        let start = index
        while index < bytes.count {
            if bytes[index] == end.utf8.first, takes(end) { return bytes[start..<(index - end.utf8.count)] }
            index += 1
        }
        return nil
    }

    /// nil for what starts no name. Characters beyond ASCII count as letters.
    private mutating func takeName() -> ArraySlice<UInt8>? {
        let start = index
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), 0x80...,
                UInt8(ascii: "_"), UInt8(ascii: ":"):
                index += 1
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
                guard index > start else { return nil }
                index += 1
            default: return index > start ? bytes[start..<index] : nil
            }
        }
        return nil
    }

    private mutating func skipBlanks() {
        while index < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[index]) { index += 1 }
    }
}
