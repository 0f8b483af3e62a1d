/// Whether so much may go at once. A mistake in a policy, or a clock that is wrong by years, must not empty the shelves.
package struct PruneGuard: Sendable, Hashable {
    /// Below so many backups a share says nothing: of three that are kept for a day two go the next one, and that is right.
    package static let leastCount = 20

    package let removedCount: Int
    package let count: Int

    package init(removedCount: Int, count: Int) {
        self.removedCount = removedCount
        self.count = count
    }

    /// `maximumShare` is of all backups that the policies are about.
    package func refuses(maximumShare: Double) -> Bool {
        count >= Self.leastCount && Double(removedCount) > maximumShare * Double(count)
    }
}

/// Days for which a backend bills what is stored there, however early it goes.
package struct MinimumDuration: Sendable, Hashable {
    package let days: Int

    package init(days: Int) { self.days = days }

    /// Seconds that are billed after an object is removed at this age.
    package func secondsLeft(age: Int64) -> Int64 { max(0, Int64(days) * 86_400 - max(0, age)) }
}
