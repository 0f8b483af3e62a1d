package import Foundation

/// A day of the proleptic Gregorian calendar, as a wall calendar shows it in some time zone.
package struct LocalDate: Sendable, Hashable, Comparable {
    /// Days since 1970-01-01.
    package let dayNumber: Int

    package init(dayNumber: Int) { self.dayNumber = dayNumber }

    /// The day that a moment belongs to, by the clocks of a zone.
    package init(_ time: Int64, in zone: TimeZone) {
        let offset = Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(time))))
        dayNumber = Int((time + offset).dividedDown(by: 86_400))
    }

    package static func < (left: LocalDate, right: LocalDate) -> Bool { left.dayNumber < right.dayNumber }

    /// Year, month 1 to 12, day 1 to 31. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    package var civil: (year: Int, month: Int, day: Int) {
        let shifted = dayNumber + 719_468
        let era = Int(Int64(shifted).dividedDown(by: 146_097))
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// The same source, days_from_civil.
    package init(year: Int, month: Int, day: Int) {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = Int(Int64(shiftedYear).dividedDown(by: 400))
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        dayNumber = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    /// 0 is Monday. 1970-01-01 was a Thursday.
    package var weekday: Int { ((dayNumber + 3) % 7 + 7) % 7 }

    /// Weeks since that of 1970-01-01, each from Monday to Sunday.
    package var weekNumber: Int { Int(Int64(dayNumber + 3).dividedDown(by: 7)) }

    /// ISO 8601: the week belongs to the year that its Thursday is in.
    package var isoWeek: (year: Int, week: Int) {
        let thursday = LocalDate(dayNumber: dayNumber - weekday + 3)
        let year = thursday.civil.year
        return (year, (thursday.dayNumber - LocalDate(year: year, month: 1, day: 1).dayNumber) / 7 + 1)
    }

    package func advanced(by days: Int) -> LocalDate { LocalDate(dayNumber: dayNumber + days) }
}

extension Int64 {
    /// Rounded towards minus infinity.
    func dividedDown(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
