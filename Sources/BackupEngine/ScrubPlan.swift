package import BackupNames

/// How much is to be checked in a day, as a share of all that is stored: "14%/day".
package struct ScrubRate: Sendable, Hashable {
    /// Above 0, at most 1.
    package let sharePerDay: Double

    /// nil for what is no rate.
    package init?(_ text: String) {
        guard text.hasSuffix("%/day"), let percent = Double(text.dropLast(5)), percent > 0, percent <= 100 else {
            return nil
        }
        sharePerDay = percent / 100
    }
}

/// What a scrub is to do now: a pure function of what is stored, when it was checked, and what was fetched of late.
///
/// - Whole archives, those never checked first, then the one whose check is oldest; strictly in that order, so that none is
///   passed over for being large.
/// - What may be fetched is the rate times the days of the last week, less what was fetched in them: a day that was missed is
///   caught up with, an archive larger than a day's share waits until enough has come together, and one larger than six days'
///   is taken with six days' share. No day fetches more than `egressPerDay`.
/// - Beside them, frames at random of the archives that are not due, for up to a hundredth of a day's share.
///
/// With 14 % a day everything is checked within 7.2 days; where one archive is most of all there is, within two weeks.
package struct ScrubPlan: Sendable, Hashable {
    package struct Item: Sendable, Hashable {
        package let identifier: BackupIdentifier
        package let archiveByteCount: UInt64
        package let createdAt: Int64
        /// When all of the archive was last read and hashed; nil for never.
        package let checkedAt: Int64?

        package init(identifier: BackupIdentifier, archiveByteCount: UInt64, createdAt: Int64, checkedAt: Int64?) {
            self.identifier = identifier
            self.archiveByteCount = archiveByteCount
            self.createdAt = createdAt
            self.checkedAt = checkedAt
        }
    }

    package static let secondsPerDay: Int64 = 86_400
    private static let window: Int64 = 7

    /// To be checked as a whole, in this order.
    package private(set) var whole: [BackupIdentifier] = []
    /// Of these, frames at random may be looked at.
    package private(set) var sampled: [BackupIdentifier] = []
    /// For those frames.
    package private(set) var sampleByteCount: UInt64 = 0
    /// Larger than `egressPerDay`: never checked at this setting.
    package private(set) var tooLarge: [BackupIdentifier] = []

    /// - Parameters:
    ///   - now: seconds since 1970.
    ///   - fetched: bytes that scrubs fetched, by day since 1970 (UTC), today's included; days since the first of them count.
    package init(_ items: [Item], _ rate: ScrubRate, egressPerDay: UInt64?, now: Int64, fetched: [Int64: UInt64]) {
        let today = now / Self.secondsPerDay
        let total = items.reduce(0.0) { $0 + Double($1.archiveByteCount) }
        let daily = rate.sharePerDay * total
        let recent = fetched.filter { $0.key > today - Self.window && $0.key <= today }
        let days = Double((recent.keys.min().map { today - $0 } ?? 0) + 1)
        let credit = max(0, daily * days - recent.values.reduce(0.0) { $0 + Double($1) })
        let cap = egressPerDay.map { Double($0) - Double(fetched[today] ?? 0) } ?? .infinity
        var left = min(credit, cap)
        let order = items.sorted {
            ($0.checkedAt ?? .min, $0.createdAt, "\($0.identifier)")
                < ($1.checkedAt ?? .min, $1.createdAt, "\($1.identifier)")
        }
        var hasStopped = false
        for item in order {
            let size = Double(item.archiveByteCount)
            if let egressPerDay, item.archiveByteCount > egressPerDay {
                tooLarge.append(item.identifier)
                continue
            }
            let isHuge =
                size > daily * Double(Self.window - 1) && credit >= daily * Double(Self.window - 1) && size <= cap
            if !hasStopped, size <= left || isHuge && whole.isEmpty {
                whole.append(item.identifier)
                left = max(0, left - size)
            } else {
                hasStopped = true
                // What was checked in the last day needs no sample.
                if item.checkedAt.map({ now - $0 >= Self.secondsPerDay }) ?? true { sampled.append(item.identifier) }
            }
        }
        let taken = min(credit, cap) - left
        sampleByteCount = sampled.isEmpty ? 0 : UInt64(max(0, min(daily / 100, cap - taken)))
    }
}
