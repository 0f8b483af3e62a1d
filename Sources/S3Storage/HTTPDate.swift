internal import Glibc

/// Dates as servers write them, in seconds since 1970.
enum HTTPDate {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7, the form that servers must send).
    static func seconds(_ text: String) -> Int64? {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "," || $0 == ":" })
        guard words.count >= 7, let day = Int32(words[1]), let month = months.firstIndex(of: String(words[2])),
            let year = Int32(words[3]), let hour = Int32(words[4]), let minute = Int32(words[5]),
            let second = Int32(words[6])
        else { return nil }
        return seconds(year, Int32(month), day, hour, minute, second)
    }

    /// `2026-11-20T02:00:00.000Z`; a fraction is cut off.
    static func secondsOfISO(_ text: String) -> Int64? {
        let numbers = text.split(whereSeparator: { !$0.isASCII || !$0.isNumber }).compactMap { Int32($0) }
        guard numbers.count >= 6 else { return nil }
        return seconds(numbers[0], numbers[1] - 1, numbers[2], numbers[3], numbers[4], numbers[5])
    }

    private static func seconds(
        _ year: Int32, _ month: Int32, _ day: Int32, _ hour: Int32, _ minute: Int32, _ second: Int32
    ) -> Int64? {
        guard 1970...9999 ~= year, 0...11 ~= month, 1...31 ~= day, 0...23 ~= hour, 0...59 ~= minute, 0...60 ~= second
        else { return nil }
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (year - 1900, month, day)
        (parts.tm_hour, parts.tm_min, parts.tm_sec) = (hour, minute, second)
        return Int64(timegm(&parts))
    }
}

extension HTTPDate {
    /// `2026-11-20T02:00:00Z`
    static func iso(_ seconds: Int64) -> String {
        var seconds = time_t(seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
