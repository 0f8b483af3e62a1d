internal import Foundation

/// A value of JSON (RFC 8259), as QEMU and its guest agent speak it.
enum QMPValue: Hashable, Sendable {
    case null
    case flag(Bool)
    case number(Int64)
    case fraction(Double)
    case text(String)
    case list([QMPValue])
    case object([String: QMPValue])

    /// A member of an object; null where it has none, or is none.
    subscript(_ key: String) -> QMPValue {
        if case .object(let members) = self { members[key] ?? .null } else { .null }
    }

    var string: String? { if case .text(let text) = self { text } else { nil } }
    var integer: Int64? { if case .number(let number) = self { number } else { nil } }
    var elements: [QMPValue] { if case .list(let elements) = self { elements } else { [] } }

    init?(parsing line: [UInt8]) {
        guard let value = try? JSONDecoder().decode(QMPValue.self, from: Data(line)) else { return nil }
        self = value
    }

    /// On one line.
    var encoded: [UInt8] {
        guard let data = try? JSONEncoder().encode(self) else {
            preconditionFailure("internal error: a value that is no JSON")
        }
        return Array(data)
    }
}

extension QMPValue: Codable {
    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let flag = try? container.decode(Bool.self) {
            self = .flag(flag)
        } else if let number = try? container.decode(Int64.self) {
            self = .number(number)
        } else if let fraction = try? container.decode(Double.self) {
            self = .fraction(fraction)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let list = try? container.decode([QMPValue].self) {
            self = .list(list)
        } else {
            self = .object(try container.decode([String: QMPValue].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .flag(let flag): try container.encode(flag)
        case .number(let number): try container.encode(number)
        case .fraction(let fraction): try container.encode(fraction)
        case .text(let text): try container.encode(text)
        case .list(let list): try container.encode(list)
        case .object(let members): try container.encode(members)
        }
    }
}

extension QMPValue: ExpressibleByStringLiteral, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    init(stringLiteral value: String) { self = .text(value) }
    init(integerLiteral value: Int64) { self = .number(value) }
    init(booleanLiteral value: Bool) { self = .flag(value) }
    init(dictionaryLiteral members: (String, QMPValue)...) {
        self = .object(Dictionary(members) { $1 })
    }
    init(nilLiteral: ()) { self = .null }
}
