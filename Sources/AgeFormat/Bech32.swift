internal import CryptoPrimitives

/// Bech32 (BIP 173) without its limit of 90 characters, as age uses it for keys.
///
/// Works on bytes, not on strings, so that a secret key need not become one. Its own intermediate values are wiped, and no
/// array with a secret in it grows; callers wipe what they are given.
enum Bech32 {
    private static let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)
    private static let generator: [UInt32] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
    private static let checksumCount = 6

    /// Lower-case text for a lower-case prefix.
    static func encode(prefix: String, _ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        guard var values = regroup(bytes, from: 8, to: 5, pads: true) else {
            preconditionFailure("internal error: padded groups are refused")
        }
        defer { wipe(&values) }
        var checksum = polymod(values, after: prefixChecksum(Array(prefix.utf8)))
        checksum = polymod([UInt8](repeating: 0, count: checksumCount), after: checksum) ^ 1
        var text: [UInt8] = []
        text.reserveCapacity(prefix.utf8.count + 1 + values.count + checksumCount)
        text += prefix.utf8
        text.append(UInt8(ascii: "1"))
        for value in values { text.append(alphabet[Int(value)]) }
        for index in 0..<checksumCount { text.append(alphabet[Int(checksum >> (5 * UInt32(5 - index)) & 31)]) }
        return text
    }

    /// The prefix, in lower case, and the bytes; nil for anything irregular: mixed case, a bad character or checksum.
    static func decode(_ text: UnsafeRawBufferPointer) -> (prefix: String, bytes: [UInt8])? {
        let hasUpper = text.contains { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        let hasLower = text.contains { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
        guard !(hasUpper && hasLower), let separator = text.lastIndex(of: UInt8(ascii: "1")), separator >= 1,
            text.count - separator - 1 >= checksumCount
        else { return nil }
        let prefix = text[..<separator].map(lowered)
        guard prefix.allSatisfy({ (33...126).contains($0) }) else { return nil }
        var values: [UInt8] = []
        values.reserveCapacity(text.count - separator - 1)
        defer { wipe(&values) }
        for character in text[(separator + 1)...] {
            guard let value = alphabet.firstIndex(of: lowered(character)) else { return nil }
            values.append(UInt8(value))
        }
        guard polymod(values, after: prefixChecksum(prefix)) == 1 else { return nil }
        let payloadCount = values.count - checksumCount
        let bytes = values.withUnsafeBytes {
            regroup(UnsafeRawBufferPointer(rebasing: $0[..<payloadCount]), from: 5, to: 8, pads: false)
        }
        guard let bytes else { return nil }
        return (String(decoding: prefix, as: UTF8.self), bytes)
    }

    static func wipe(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { SecretBytes.wipe($0) }
    }

    private static func lowered(_ character: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(character) ? character + 32 : character
    }

    /// The checksum's state behind the prefix, which counts as its high bits, a zero, and its low bits.
    private static func prefixChecksum(_ prefix: [UInt8]) -> UInt32 {
        polymod(prefix.map { $0 >> 5 } + [0] + prefix.map { $0 & 31 }, after: 1)
    }

    private static func polymod(_ values: [UInt8], after start: UInt32) -> UInt32 {
        var checksum = start
        for value in values {
            let top = checksum >> 25
            checksum = (checksum & 0x1ff_ffff) << 5 ^ UInt32(value)
            for (index, factor) in generator.enumerated() where top >> UInt32(index) & 1 == 1 { checksum ^= factor }
        }
        return checksum
    }

    /// Cuts groups of `from` bits into groups of `to` bits; nil for padding that is too long or not zero.
    private static func regroup(_ bytes: UnsafeRawBufferPointer, from: Int, to: Int, pads: Bool) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count * from / to + 1)
        var bits: UInt32 = 0
        var bitCount = 0
        for byte in bytes {
            bits = (bits << from | UInt32(byte)) & 0xfff
            bitCount += from
            while bitCount >= to {
                bitCount -= to
                output.append(UInt8(bits >> bitCount & (1 << to - 1)))
            }
        }
        if pads {
            if bitCount > 0 { output.append(UInt8(bits << (to - bitCount) & (1 << to - 1))) }
        } else if bitCount >= from || bits & (1 << bitCount - 1) != 0 {
            return nil
        }
        return output
    }
}
