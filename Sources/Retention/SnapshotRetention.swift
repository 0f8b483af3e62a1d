/// Which snapshots of a disk go: the newest so many stay. A value made of values: no clock, no catalog.
///
/// One that is later than now stays, and counts for nothing: a clock is or was wrong, and the newest of those made by a right one are not
/// to go for it.
package struct SnapshotRetention<ID: Hashable & Sendable>: Sendable, Hashable {
    package struct Point: Sendable, Hashable {
        package let id: ID
        /// Its consistent point, seconds since 1970.
        package let time: Int64

        package init(id: ID, time: Int64) {
            self.id = id
            self.time = time
        }
    }

    /// The oldest first.
    package let removed: [ID]
    /// The oldest first.
    package let kept: [ID]

    /// - Parameters:
    ///   - points: the snapshots of one disk in one pool; of two of the same time the one that stands later counts as the newer.
    ///   - keep: at least one.
    package init(_ points: [Point], keep: Int, now: Int64) {
        precondition(keep > 0, "internal error: a policy that keeps no snapshot")
        let ordered = points.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
            .map(\.element)
        let past = ordered.prefix { $0.time <= now }
        let surplus = max(0, past.count - keep)
        removed = past.prefix(surplus).map(\.id)
        kept = ordered.dropFirst(surplus).map(\.id)
    }
}
