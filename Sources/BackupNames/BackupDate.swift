/// The consistent point of a backup, to the second, as its folder is named: `2026-11-20T02-00-00Z`, always UTC, so that names
/// sort by time. Years 1970 to 9999.
package struct BackupDate: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let secondsSince1970: Int64

    private static let latestSecond: Int64 = 253_402_300_799

    /// Seconds outside 1970 to 9999 are brought to the nearer end.
    package init(secondsSince1970: Int64) {
        self.secondsSince1970 = min(max(0, secondsSince1970), Self.latestSecond)
    }

    package init(_ text: String) throws(NameError) {
        let error = NameError(text, "is not a date such as 2026-11-20T02-00-00Z")
        let bytes = Array(text.utf8)
        guard bytes.count == 20 else { throw error }
        for (index, separator) in [(4, "-"), (7, "-"), (10, "T"), (13, "-"), (16, "-"), (19, "Z")] {
            guard bytes[index] == separator.utf8.first else { throw error }
        }
        func number(_ range: Range<Int>) throws(NameError) -> Int64 {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { throw error }
                value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            }
            return value
        }
        let (year, month, day) = (try number(0..<4), try number(5..<7), try number(8..<10))
        let (hour, minute, second) = (try number(11..<13), try number(14..<16), try number(17..<19))
        guard year >= 1970, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60 else {
            throw error
        }
        let days = Self.days(year, month, day)
        secondsSince1970 = days * 86400 + hour * 3600 + minute * 60 + second
        // A day that the month does not have lands in the next one.
        guard description == text else { throw error }
    }

    package func next() -> BackupDate { BackupDate(secondsSince1970: secondsSince1970 + 1) }

    package var description: String {
        let (year, month, day) = Self.civil(secondsSince1970 / 86400)
        let second = secondsSince1970 % 86400
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: width - digits.count) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(second / 3600, 2))-"
            + "\(padded(second / 60 % 60, 2))-\(padded(second % 60, 2))Z"
    }

    package static func < (left: BackupDate, right: BackupDate) -> Bool {
        left.secondsSince1970 < right.secondsSince1970
    }

    /// Days from 1970-01-01 to a date of the Gregorian calendar, by eras of 400 years that start in March.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let year = month <= 2 ? year - 1 : year
        let era = year / 400
        let yearOfEra = year - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The inverse of `days`.
    private static func civil(_ days: Int64) -> (Int64, Int64, Int64) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
