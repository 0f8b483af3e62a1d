/// The JSON of manifests: objects, arrays, strings and integers, nothing else; and its one canonical form, over which the
/// MAC is computed: members sorted by the bytes of their names, no white space, integers in decimal, and in strings only
/// `"`, `\` and control characters escaped (as \u00XX).
package indirect enum CanonicalJSON: Equatable {
    case object([String: CanonicalJSON])
    case array([CanonicalJSON])
    case string(String)
    case integer(UInt64)

    /// Reads a text strictly: `.malformed` for what two readers could understand differently. `subject` is what an error calls it.
    package init(parsing bytes: [UInt8], as subject: String) throws(ManifestError) {
        self = try CanonicalJSONParser.parse(bytes, as: subject)
    }

    /// The canonical form.
    package var bytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output, indentation: nil)
        return output
    }

    /// For people: one member a line, two spaces for each level.
    package var prettyBytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output, indentation: 0)
        return output + [UInt8(ascii: "\n")]
    }

    private func write(to output: inout [UInt8], indentation: Int?) {
        switch self {
        case .integer(let value): output += Array(String(value).utf8)
        case .string(let text): Self.write(text, to: &output)
        case .array(let items):
            Self.writeList("[", "]", items.count, indentation, &output) { index, inner, output in
                items[index].write(to: &output, indentation: inner)
            }
        case .object(let members):
            let names = members.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            Self.writeList("{", "}", names.count, indentation, &output) { index, inner, output in
                Self.write(names[index], to: &output)
                output += Array((inner == nil ? ":" : ": ").utf8)
                members[names[index]]?.write(to: &output, indentation: inner)
            }
        }
    }

    private static func writeList(
        _ open: Character, _ close: Character, _ count: Int, _ indentation: Int?, _ output: inout [UInt8],
        _ item: (Int, Int?, inout [UInt8]) -> Void
    ) {
        output += Array(open.utf8)
        let inner = indentation.map { $0 + 1 }
        for index in 0..<count {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            if let inner { output += Array(("\n" + String(repeating: "  ", count: inner)).utf8) }
            item(index, inner, &output)
        }
        if let indentation, count > 0 { output += Array(("\n" + String(repeating: "  ", count: indentation)).utf8) }
        output += Array(close.utf8)
    }

    private static func write(_ text: String, to output: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        output.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output += [UInt8(ascii: "\\"), byte]
            case 0..<0x20: output += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }
}
