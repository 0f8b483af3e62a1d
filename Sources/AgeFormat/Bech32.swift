/// Bech32 (BIP 173) without its limit of 90 characters, as age uses it for keys.
///
/// Works on bytes, not on strings, so that a secret key need not become one; callers wipe what they hold.
enum Bech32 {
    private static let alphabet = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)
    private static let generator: [UInt32] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
    private static let checksumCount = 6

    /// Lower-case text for a lower-case prefix.
    static func encode(prefix: String, _ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        let prefix = Array(prefix.utf8)
        var values = regroup(bytes, from: 8, to: 5, pads: true) ?? []
        let checked = expand(prefix) + values + [UInt8](repeating: 0, count: checksumCount)
        let checksum = polymod(checked) ^ 1
        for index in 0..<checksumCount { values.append(UInt8(checksum >> (5 * UInt32(5 - index)) & 31)) }
        defer { wipe(&values) }
        return prefix + [UInt8(ascii: "1")] + values.map { alphabet[Int($0)] }
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
        defer { wipe(&values) }
        for character in text[(separator + 1)...] {
            guard let value = alphabet.firstIndex(of: lowered(character)) else { return nil }
            values.append(UInt8(value))
        }
        guard polymod(expand(prefix) + values) == 1 else { return nil }
        let payload = values.dropLast(checksumCount)
        guard let bytes = Array(payload).withUnsafeBytes({ regroup($0, from: 5, to: 8, pads: false) }) else { return nil }
        return (String(decoding: prefix, as: UTF8.self), bytes)
    }

    static func wipe(_ bytes: inout [UInt8]) {
        for index in bytes.indices { bytes[index] = 0 }
    }

    private static func lowered(_ character: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(character) ? character + 32 : character
    }

    private static func expand(_ prefix: [UInt8]) -> [UInt8] { prefix.map { $0 >> 5 } + [0] + prefix.map { $0 & 31 } }

    private static func polymod(_ values: [UInt8]) -> UInt32 {
        var checksum: UInt32 = 1
        for value in values {
            let top = checksum >> 25
            checksum = (checksum & 0x1ff_ffff) << 5 ^ UInt32(value)
            for (index, factor) in generator.enumerated() where top >> UInt32(index) & 1 == 1 { checksum ^= factor }
        }
        return checksum
    }

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
