/// What a kept backup stands for.
package enum RetentionClass: String, Sendable, Hashable, CaseIterable, Comparable {
    case daily, weekly, monthly, yearly

    /// Numbers the periods of the class in the order of time.
    package func period(of date: LocalDate) -> Int {
        switch self {
        case .daily: return date.dayNumber
        case .weekly: return date.weekNumber
        case .monthly:
            let civil = date.civil
            return civil.year * 12 + civil.month - 1
        case .yearly: return date.civil.year
        }
    }

    /// The period for people: `2026-11-20`, `2026-W47`, `2026-11`, `2026`.
    package func periodName(of date: LocalDate) -> String {
        let civil = date.civil
        switch self {
        case .daily: return "\(Self.digits(civil.year, 4))-\(Self.digits(civil.month, 2))-\(Self.digits(civil.day, 2))"
        case .weekly:
            let week = date.isoWeek
            return "\(Self.digits(week.year, 4))-W\(Self.digits(week.week, 2))"
        case .monthly: return "\(Self.digits(civil.year, 4))-\(Self.digits(civil.month, 2))"
        case .yearly: return Self.digits(civil.year, 4)
        }
    }

    /// `day`, `week`, `month`, `year`.
    package var unit: String {
        switch self {
        case .daily: "day"
        case .weekly: "week"
        case .monthly: "month"
        case .yearly: "year"
        }
    }

    /// The longest that a period can be, in seconds, with an hour for a change of the clocks.
    var longestSeconds: Int64 {
        let days: Int64 =
            switch self {
            case .daily: 1
            case .weekly: 7
            case .monthly: 31
            case .yearly: 366
            }
        return days * 86_400 + 3600
    }

    /// By the length of the period.
    package static func < (left: RetentionClass, right: RetentionClass) -> Bool {
        left.longestSeconds < right.longestSeconds
    }

    private static func digits(_ number: Int, _ count: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, count - text.count)) + text
    }
}

/// How many backups of a disk are kept, by class. A policy that keeps none is off: it makes no backups, and removes none.
package struct RetentionPolicy: Sendable, Hashable {
    package let daily: Int
    package let weekly: Int
    package let monthly: Int
    package let yearly: Int

    package static let off = RetentionPolicy(daily: 0)
    package static let basic = RetentionPolicy(daily: 3)
    package static let weekly = RetentionPolicy(daily: 7, weekly: 4)
    package static let gfs = RetentionPolicy(daily: 7, weekly: 4, monthly: 12, yearly: 3)

    package init(daily: Int, weekly: Int = 0, monthly: Int = 0, yearly: Int = 0) {
        precondition(min(daily, weekly, monthly, yearly) >= 0, "internal error: a policy that keeps fewer than none")
        self.daily = daily
        self.weekly = weekly
        self.monthly = monthly
        self.yearly = yearly
    }

    /// `off`, `basic`, `weekly` or `gfs`.
    package init?(preset: String) {
        switch preset {
        case "off": self = .off
        case "basic": self = .basic
        case "weekly": self = .weekly
        case "gfs": self = .gfs
        default: return nil
        }
    }

    package func count(of retentionClass: RetentionClass) -> Int {
        switch retentionClass {
        case .daily: daily
        case .weekly: weekly
        case .monthly: monthly
        case .yearly: yearly
        }
    }

    package var isOff: Bool { RetentionClass.allCases.allSatisfy { count(of: $0) == 0 } }

    /// How often a backup is wanted: once in each period of the shortest class that it keeps any of; nil where it is off.
    package var cadence: RetentionClass? { RetentionClass.allCases.filter { count(of: $0) > 0 }.min() }
}
