/// Lengths of time and sizes as people write them, in the configuration and on the command line.
package enum DurationText {
    /// Seconds of `90s`, `30m`, `26h`, `8d`, `2w`, `3y`: a whole number above 0 and its unit; a year has 366 days, so that none is cut
    /// short. nil for anything else, and for more than a thousand years.
    package static func seconds(_ text: some StringProtocol) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 366 * 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = wholeNumber(text.dropLast()) else { return nil }
        let (seconds, overflows) = number.multipliedReportingOverflow(by: unit)
        return overflows || seconds > 1000 * 366 * 86_400 ? nil : seconds
    }

    /// Digits only, for `Int` takes a sign; more than 0.
    static func wholeNumber(_ digits: some StringProtocol) -> Int64? {
        guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        return Int64(digits).flatMap { $0 > 0 ? $0 : nil }
    }
}

package enum SizeText {
    /// Bytes of `256MiB` (KiB, MiB, GiB, TiB), or of a number alone; nil for anything else.
    package static func byteCount(_ text: some StringProtocol) -> Int? {
        for (unit, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)] where text.hasSuffix(unit) {
            guard let number = DurationText.wholeNumber(text.dropLast(unit.count)), number <= Int64.max >> (shift + 1)
            else { return nil }
            return Int(number << shift)
        }
        return DurationText.wholeNumber(text).map { Int($0) }
    }
}
