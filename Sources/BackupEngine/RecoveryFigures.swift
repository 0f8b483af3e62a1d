/// How long a restore takes, as far as anybody knows.
package enum RecoveryTime: Hashable, Sendable {
    /// As long as the newest drill of the disk that went well.
    case measured(milliseconds: Int64)
    /// From the size of the image and what the backend has given of late.
    case estimated(milliseconds: Int64)
    case unknown

    /// nil where nothing is known.
    package var milliseconds: Int64? {
        switch self {
        case .measured(let milliseconds), .estimated(let milliseconds): milliseconds
        case .unknown: nil
        }
    }

    package var source: String {
        switch self {
        case .measured: "measured"
        case .estimated: "estimated"
        case .unknown: "unknown"
        }
    }
}

/// The arithmetic of RPO and RTO: functions of values, no catalog and no clock.
package enum RecoveryFigures {
    /// What one restore or drill that went well has shown.
    package struct Sample: Hashable, Sendable {
        package let rawByteCount: UInt64
        package let milliseconds: Int64

        package init(rawByteCount: UInt64, milliseconds: Int64) {
            self.rawByteCount = rawByteCount
            self.milliseconds = milliseconds
        }
    }

    /// How many runs tell what a backend gives; older ones were another network.
    package static let sampleLimit = 20

    /// Raw bytes in a second: the median of the first `sampleLimit` of `samples`, which come newest first. nil without any.
    ///
    /// A median, for one restore on a bad day must not halve the figure. A run that took less than a millisecond counts as one;
    /// one of no bytes says nothing.
    package static func bytesPerSecond(_ samples: some Sequence<Sample>) -> Double? {
        let rates = samples.lazy.filter { $0.rawByteCount > 0 }.prefix(sampleLimit)
            .map { Double($0.rawByteCount) * 1000 / Double(max(1, $0.milliseconds)) }
            .sorted()
        guard !rates.isEmpty else { return nil }
        let middle = rates.count / 2
        return rates.count % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2
    }

    /// RTO of a disk: measured where a drill has shown it, else estimated, else unknown.
    package static func recoveryTime(
        rawByteCount: UInt64, measuredMilliseconds: Int64?, bytesPerSecond: Double?
    ) -> RecoveryTime {
        if let measuredMilliseconds { return .measured(milliseconds: measuredMilliseconds) }
        guard let bytesPerSecond, bytesPerSecond > 0 else { return .unknown }
        let milliseconds = (Double(rawByteCount) * 1000 / bytesPerSecond).rounded()
        // 2^53 ms are 285,000 years: beyond that a Double is no whole number any more.
        return .estimated(milliseconds: Int64(min(max(1, milliseconds), 0x1p53)))
    }

    /// RPO: the age of the newest backup in seconds, exact. One that a faster clock has made is of now.
    package static func recoveryPoint(createdAt: Int64, now: Int64) -> Int64 {
        let (age, overflows) = now.subtractingReportingOverflow(createdAt)
        return overflows ? (createdAt < 0 ? .max : 0) : max(0, age)
    }
}
