/// What has become of a disk's automatic backups so far. Times are seconds since 1970.
package struct RunHistory: Sendable, Hashable {
    /// When the newest run that went well began.
    package var lastGoodAt: Int64?
    /// When the last run that failed ended.
    package var lastFailedAt: Int64?
    /// Runs that failed since.
    package var failureCount: Int

    package init(lastGoodAt: Int64? = nil, lastFailedAt: Int64? = nil, failureCount: Int = 0) {
        self.lastGoodAt = lastGoodAt
        self.lastFailedAt = lastFailedAt
        self.failureCount = failureCount
    }
}

package enum RunDecision: Sendable, Hashable {
    package enum WaitReason: Sendable, Hashable {
        /// This period's backup is made; the next window may be of another.
        case done
        /// No window is open.
        case window
        /// Its moment inside the window has not come.
        case moment
        case backOff
    }

    case off
    case waits(until: Int64, WaitReason)
    case due(catchesUp: Bool)

    static let firstBackOffSeconds: Int64 = 300
    static let longestBackOffSeconds: Int64 = 4 * 3600

    /// Whether a disk is to be backed up now.
    ///
    /// One good run is wanted in each period of the policy's cadence, to which a run belongs by the day on which its window, the last before it, began.
    /// It begins at a random moment in the first three quarters of its window, which `seed` (of the disk's name) and the day decide. A
    /// run that was missed, for nothing was running or everything failed, is made up for as soon as a window is open, without
    /// waiting for a moment, and once: periods that are over are not made up for one by one. After failures it waits 5 minutes, then
    /// twice as long each time up to 4 hours; a new window is a new beginning.
    package static func decide(
        policy: RetentionPolicy, window: BackupWindow, history: RunHistory, seed: UInt64, now: Int64
    ) -> RunDecision {
        decide(policy: policy, window: window, window.state(at: now), history: history, seed: seed, now: now)
    }

    /// The same for many disks of one window, whose state now is worked out once.
    package static func decide(
        policy: RetentionPolicy, window: BackupWindow, _ state: BackupWindow.State, history: RunHistory, seed: UInt64,
        now: Int64
    ) -> RunDecision {
        guard let cadence = policy.cadence else { return .off }
        guard let open = state.open else { return .waits(until: state.nextStart, .window) }
        // A clock that was set back: what is later than now was not.
        let lastGood = history.lastGoodAt.flatMap { $0 < open.upperBound ? $0 : nil }
        let period = cadence.period(of: window.day(of: open))
        let lastPeriod = lastGood.map { Self.period(cadence, of: $0, window) }
        if let lastPeriod, lastPeriod >= period { return .waits(until: state.nextStart, .done) }
        if let failed = history.lastFailedAt, history.failureCount > 0, open.contains(failed), failed <= now {
            let doublings = min(history.failureCount - 1, 16)
            let end = failed + min(longestBackOffSeconds, firstBackOffSeconds << Int64(doublings))
            if now < end { return .waits(until: end, .backOff) }
        }
        // What was missed is a window: a weekend, or a day that the zone leaves out, has none.
        let previous = window.latest(at: open.lowerBound - 1).map { cadence.period(of: window.day(of: $0)) }
        let catchesUp = lastPeriod.map { $0 < min(previous ?? .max, period - 1) } ?? false
        if !catchesUp {
            let moment = open.lowerBound + moment(in: open, seed: seed)
            if now < moment { return .waits(until: moment, .moment) }
        }
        return .due(catchesUp: catchesUp)
    }

    /// Seconds from the start of a window: the same whenever it is asked.
    static func moment(in window: Range<Int64>, seed: UInt64) -> Int64 {
        let span = UInt64(window.upperBound - window.lowerBound) / 4 * 3
        guard span > 0 else { return 0 }
        return Int64(SplitMix64.mix(seed ^ SplitMix64.mix(UInt64(bitPattern: window.lowerBound))) % span)
    }

    private static func period(_ cadence: RetentionClass, of run: Int64, _ window: BackupWindow) -> Int {
        // One that took longer than its window, or was made by hand between two, belongs to the window before it.
        cadence.period(of: window.latest(at: run).map(window.day) ?? LocalDate(run, in: window.timeZone))
    }
}

/// Numbers that look random and are the same for the same input. Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators",
/// the finalizer of SplitMix64.
enum SplitMix64 {
    static func mix(_ input: UInt64) -> UInt64 {
        var z = input &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
