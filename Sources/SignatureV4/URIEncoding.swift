/// Percent-encoding as Signature Version 4 wants it, and as the same bytes are then sent: only RFC 3986's unreserved
/// characters stay, hexadecimal digits are capitals.
package enum URIEncoding {
    package static func component(_ text: String) -> String { encode(text, keepsSlash: false) }

    /// An object's key or a whole path: slashes stay.
    package static func path(_ text: String) -> String { encode(text, keepsSlash: true) }

    private static func encode(_ text: String, keepsSlash: Bool) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.append(byte)
            case UInt8(ascii: "/") where keepsSlash:
                encoded.append(byte)
            default:
                encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
