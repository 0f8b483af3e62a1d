package import Foundation

/// A window that cannot be.
package struct RetentionError: Error, Hashable, CustomStringConvertible {
    package enum Subject: Sendable, Hashable { case window, weekdays, timeZone }

    package let subject: Subject
    package let detail: String

    package var description: String { detail }
}

/// When backups may begin: from one time of day to another, on some days of the week, by the clocks of a zone.
///
/// A window belongs to the day on which it begins. Where the clocks are changed: a time that does not exist is the moment of the
/// change; of one that exists twice a window begins with the first and ends with the second. So no window is ever empty, and no day
/// is without its own; a day that a zone leaves out altogether has none.
package struct BackupWindow: Sendable, Hashable {
    /// Minutes after midnight: 0 to 1439.
    package let startMinute: Int
    /// 1 to 1440, and the next day's where it is not after the start.
    package let endMinute: Int
    /// 0 is Monday.
    package let weekdays: Set<Int>
    package let timeZone: TimeZone

    private static let dayNames = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

    package static let allDay = BackupWindow(
        startMinute: 0, endMinute: 1440, weekdays: Set(0..<7), timeZone: TimeZone(secondsFromGMT: 0)!)

    private init(startMinute: Int, endMinute: Int, weekdays: Set<Int>, timeZone: TimeZone) {
        self.startMinute = startMinute
        self.endMinute = endMinute
        self.weekdays = weekdays
        self.timeZone = timeZone
    }

    /// - Parameters:
    ///   - text: `HH:MM-HH:MM`, such as `22:00-06:00`; `24:00` is the end of the day.
    ///   - weekdays: `mon,wed,fri` or `sat-sun`; nil: every day.
    ///   - timeZone: `Europe/Berlin`, `UTC`, …
    package init(_ text: String, weekdays: String? = nil, timeZone: String = "UTC") throws(RetentionError) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let start = Self.minute(parts[0]), let end = Self.minute(parts[1]), start < 1440,
            end > 0
        else {
            throw RetentionError(
                subject: .window,
                detail: "\"\(text)\" is no window: it must be a time and a later one, such as \"22:00-06:00\"")
        }
        guard start != end else {
            throw RetentionError(subject: .window, detail: "\"\(text)\" is empty; the whole day is \"00:00-24:00\"")
        }
        guard let zone = Self.zone(timeZone) else {
            throw RetentionError(
                subject: .timeZone,
                detail: "no time zone is called \"\(timeZone)\"; it must be one such as \"Europe/Berlin\"")
        }
        self.init(
            startMinute: start, endMinute: end, weekdays: try weekdays.map(Self.days) ?? Set(0..<7), timeZone: zone)
    }

    /// What a window is at a moment.
    package struct State: Sendable, Hashable {
        package let open: Range<Int64>?
        /// The start of the next occurrence.
        package let nextStart: Int64
    }

    package func state(at time: Int64) -> State {
        State(open: occurrence(at: time), nextStart: next(after: time).lowerBound)
    }

    /// The occurrence that holds the moment; nil where no window is open.
    package func occurrence(at time: Int64) -> Range<Int64>? {
        let today = LocalDate(time, in: timeZone)
        return [today.advanced(by: -1), today, today.advanced(by: 1)].lazy.compactMap { occurrence(on: $0) }
            .first { $0.contains(time) }
    }

    /// The first occurrence that begins after the moment.
    package func next(after time: Int64) -> Range<Int64> {
        let today = LocalDate(time, in: timeZone)
        // A week has each weekday once; one of its days may be left out by its zone.
        for days in -1...15 {
            if let found = occurrence(on: today.advanced(by: days)), found.lowerBound > time { return found }
        }
        preconditionFailure("internal error: a window that never opens")
    }

    /// The last occurrence that had begun by then; nil where there was none for two weeks.
    package func latest(at time: Int64) -> Range<Int64>? {
        let today = LocalDate(time, in: timeZone)
        return (-15...1).lazy.reversed().compactMap { occurrence(on: today.advanced(by: $0)) }
            .first { $0.lowerBound <= time }
    }

    /// The day that an occurrence belongs to.
    package func day(of occurrence: Range<Int64>) -> LocalDate { LocalDate(occurrence.lowerBound, in: timeZone) }

    /// nil where there is none on that day.
    package func occurrence(on day: LocalDate) -> Range<Int64>? {
        guard weekdays.contains(day.weekday) else { return nil }
        let midnight = Int64(day.dayNumber) * 86_400
        let nominalEnd = midnight + Int64(endMinute) * 60 + (endMinute <= startMinute ? 86_400 : 0)
        let start = moments(ofLocal: midnight + Int64(startMinute) * 60).first
        let end = moments(ofLocal: nominalEnd).last
        // A day that the zone leaves out: its start is moved to another one.
        guard LocalDate(start, in: timeZone) == day else { return nil }
        // The whole window lies in what the clocks leave out: it lasts as long as it would have.
        guard end > start else { return start..<start + nominalEnd - midnight - Int64(startMinute) * 60 }
        return start..<end
    }

    /// The first and the last moment at which local clocks show so many seconds since 1970; where they never do, the moment of the
    /// change that leaves it out.
    private func moments(ofLocal local: Int64) -> (first: Int64, last: Int64) {
        func offset(_ time: Int64) -> Int64 {
            Int64(timeZone.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(time))))
        }
        // Offsets are between -26 and +26 hours, and no zone changes twice in two days.
        let (before, after) = (offset(local - 100_000), offset(local + 100_000))
        if before == after { return (local - before, local - before) }
        let candidates = [local - before, local - after].filter { $0 + offset($0) == local }
        if let first = candidates.min(), let last = candidates.max() { return (first, last) }
        var (low, high) = (local - 100_000, local + 100_000)
        while high - low > 1 {
            let middle = low + (high - low) / 2
            if offset(middle) == before { low = middle } else { high = middle }
        }
        return (high, high)
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2,
            parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let hour = Int(parts[0]), let minute = Int(parts[1]), minute < 60, hour < 24 || (hour == 24 && minute == 0)
        else { return nil }
        return hour * 60 + minute
    }

    private static func zone(_ name: String) -> TimeZone? {
        // Foundation takes more than names, and some of them for GMT.
        guard name == "UTC" || name.contains("/") else { return nil }
        return TimeZone(identifier: name)
    }

    private static func days(_ text: String) throws(RetentionError) -> Set<Int> {
        var days: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { word in
                dayNames.firstIndex(of: word.filter { $0 != " " }.lowercased())
            }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1] else {
                throw RetentionError(
                    subject: .weekdays,
                    detail: "\"\(text)\" are no days: they must be such as \"mon,wed\" or \"mon-fri\"")
            }
            var day = first
            days.insert(day)
            while day != last {
                day = (day + 1) % 7
                days.insert(day)
            }
        }
        return days
    }
}
