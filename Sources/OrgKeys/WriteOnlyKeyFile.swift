internal import AgeFormat
internal import CryptoPrimitives

/// The file of a host that may back up and cannot read: comments, then
///
///     recipient: age1…
///     seal-key: <64 hexadecimal digits>
///
/// The seal key lets it make manifests, so the file is a secret too, but a lesser one. More lines with seal keys may follow the
/// first, which is the recipient's: those of older identities, by which the host checks what was sealed before a rotation.
enum WriteOnlyKeyFile {
    private static let recipientLabel = Array("recipient: ".utf8)
    private static let sealKeyLabel = Array("seal-key: ".utf8)
    private static let sealKeyByteCount = 32

    static func serialize(_ key: OrgKey) -> SecretBytes {
        let head = Array("# holdfast write-only key of \(key.org)\nrecipient: \(key.recipient)\n".utf8)
        let digits = Array("0123456789abcdef".utf8)
        let lineByteCount = sealKeyLabel.count + 2 * sealKeyByteCount + 1
        return SecretBytes(count: head.count + key.sealKeys.count * lineByteCount) { output in
            output.copyBytes(from: head)
            var offset = head.count
            for sealKey in key.sealKeys {
                UnsafeMutableRawBufferPointer(rebasing: output[offset...]).copyBytes(from: sealKeyLabel)
                offset += sealKeyLabel.count
                sealKey.withUnsafeBytes { secret in
                    for byte in secret {
                        output[offset] = digits[Int(byte >> 4)]
                        output[offset + 1] = digits[Int(byte & 15)]
                        offset += 2
                    }
                }
                output[offset] = UInt8(ascii: "\n")
                offset += 1
            }
        }
    }

    /// nil unless it has exactly one recipient and at least one seal key, comments and empty lines apart.
    static func parse(_ bytes: UnsafeRawBufferPointer) -> (recipient: AgeRecipient, sealKeys: [SecretBytes])? {
        var recipient: AgeRecipient?
        var sealKeys: [SecretBytes] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
            if line.starts(with: recipientLabel), recipient == nil {
                recipient = try? AgeRecipient(String(decoding: line.dropFirst(recipientLabel.count), as: UTF8.self))
                guard recipient != nil else { return nil }
            } else if line.starts(with: sealKeyLabel) {
                guard let sealKey = parseDigits(line.dropFirst(sealKeyLabel.count)) else { return nil }
                sealKeys.append(sealKey)
            } else {
                return nil
            }
        }
        guard let recipient, !sealKeys.isEmpty else { return nil }
        return (recipient, sealKeys)
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
