internal import AgeFormat
internal import CryptoPrimitives

/// The file of a host that may back up and cannot read: comments, then
///
///     recipient: age1…
///     seal-key: <64 hexadecimal digits>
///
/// The seal key lets it make manifests, so the file is a secret too, but a lesser one.
enum WriteOnlyKeyFile {
    private static let recipientLabel = Array("recipient: ".utf8)
    private static let sealKeyLabel = Array("seal-key: ".utf8)
    private static let sealKeyByteCount = 32

    static func serialize(_ key: OrgKey) -> SecretBytes {
        let head = Array("# holdfast write-only key of \(key.org)\nrecipient: \(key.recipient)\n".utf8) + sealKeyLabel
        let digits = Array("0123456789abcdef".utf8)
        return SecretBytes(count: head.count + 2 * key.sealKey.count + 1) { output in
            output.copyBytes(from: head)
            key.sealKey.withUnsafeBytes { secret in
                for (index, byte) in secret.enumerated() {
                    output[head.count + 2 * index] = digits[Int(byte >> 4)]
                    output[head.count + 2 * index + 1] = digits[Int(byte & 15)]
                }
            }
            output[output.count - 1] = UInt8(ascii: "\n")
        }
    }

    /// nil unless it has exactly the two lines, comments and empty lines apart.
    static func parse(_ bytes: UnsafeRawBufferPointer) -> (recipient: AgeRecipient, sealKey: SecretBytes)? {
        var recipient: AgeRecipient?
        var sealKey: SecretBytes?
        for line in bytes.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
            if line.starts(with: recipientLabel), recipient == nil {
                recipient = try? AgeRecipient(String(decoding: line.dropFirst(recipientLabel.count), as: UTF8.self))
                guard recipient != nil else { return nil }
            } else if line.starts(with: sealKeyLabel), sealKey == nil {
                sealKey = parseDigits(line.dropFirst(sealKeyLabel.count))
                guard sealKey != nil else { return nil }
            } else {
                return nil
            }
        }
        guard let recipient, let sealKey else { return nil }
        return (recipient, sealKey)
    }

    private static func parseDigits(_ digits: Slice<UnsafeRawBufferPointer>) -> SecretBytes? {
        guard digits.count == 2 * sealKeyByteCount else { return nil }
        var isValid = true
        let secret = SecretBytes(count: sealKeyByteCount) { output in
            for (index, digit) in digits.enumerated() {
                let value: UInt8
                switch digit {
                case UInt8(ascii: "0")...UInt8(ascii: "9"): value = digit - UInt8(ascii: "0")
                case UInt8(ascii: "a")...UInt8(ascii: "f"): value = digit - UInt8(ascii: "a") + 10
                default:
                    isValid = false
                    return
                }
                output[index / 2] = output[index / 2] << 4 | value
            }
        }
        return isValid ? secret : nil
    }
}
