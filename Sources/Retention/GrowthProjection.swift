package import Foundation

/// What of a disk's backups will be there some days from now, if its policy and the size of its backups stay as they are. A value
/// made of values: the policy is carried out day by day, as the agent would.
///
/// - A backup is made in each period of the policy's cadence, at the time of day that it is now, and every one is good.
/// - It is as large as the median of the last seven good ones.
/// - A disk whose newest backup is older than two periods is not backed up any more: of it things only go.
/// - Locks are those of new backups; none is lengthened, for what lengthens it is retention, which keeps the backup anyway.
package struct GrowthProjection: Sendable, Hashable {
    /// Backups that tell how large the next ones will be.
    static let sampleCount = 7

    package let days: Int
    /// Those of today that are still there, as positions in what was given.
    package let standing: [Int]
    /// Those that were made since, and are there.
    package let newCount: Int
    /// Of each of those.
    package let newByteCount: UInt64

    /// One backup of today: what retention sees of it, and its stored bytes at one backend.
    package struct Sized: Sendable, Hashable {
        package let point: RetentionPoint<Int>
        package let byteCount: UInt64

        package init<ID>(_ point: RetentionPoint<ID>, byteCount: UInt64) {
            let state: RetentionPoint<Int>.State =
                switch point.state {
                // Whoever carries a policy out looks first.
                case .good, .unverified: .good
                case .failed: .failed
                }
            self.point = RetentionPoint(
                id: 0, time: point.time, state: state, isHeld: point.isHeld, lockedUntil: point.lockedUntil)
            self.byteCount = byteCount
        }
    }

    /// - Parameter horizons: days from now, rising.
    package static func project(
        _ backups: [Sized], policy: RetentionPolicy, timeZone: TimeZone, locks: RetentionLocks = RetentionLocks(),
        now: Int64, days horizons: [Int]
    ) -> [GrowthProjection] {
        var points = backups.enumerated().map { index, backup in
            let point = backup.point
            return RetentionPoint(
                id: index, time: point.time, state: point.state, isHeld: point.isHeld, lockedUntil: point.lockedUntil)
        }
        let sizes = backups.filter { $0.point.state == .good }.sorted { $0.point.time > $1.point.time }
            .prefix(sampleCount).map(\.byteCount).sorted()
        let newByteCount = sizes.isEmpty ? 0 : sizes[sizes.count / 2]
        let newest = points.filter { $0.state == .good }.map(\.time).max()
        let cadence = policy.cadence
        let goesOn = cadence.flatMap { cadence in newest.map { now - $0 <= 2 * cadence.longestSeconds } } ?? false
        var projections: [GrowthProjection] = []
        var nextID = points.count
        var lastPeriod = newest.flatMap { newest in cadence?.period(of: LocalDate(newest, in: timeZone)) }
        var day = 0
        for horizon in horizons {
            while day < horizon {
                day += 1
                let time = now + Int64(day) * 86_400
                if goesOn, let cadence {
                    let period = cadence.period(of: LocalDate(time, in: timeZone))
                    if period > lastPeriod ?? .min {
                        let classes = RetentionPlan.classes(
                            ofNewPointAt: time, after: points, policy: policy, timeZone: timeZone)
                        points.append(
                            RetentionPoint(
                                id: nextID, time: time,
                                lockedUntil: locks.seconds(of: classes, policy).map { time + $0 }))
                        nextID += 1
                        lastPeriod = period
                    }
                }
                points = RetentionPlan(points, policy: policy, timeZone: timeZone, now: time).kept
            }
            let standing = points.map(\.id).filter { $0 < backups.count }.sorted()
            projections.append(
                GrowthProjection(
                    days: horizon, standing: standing, newCount: points.count - standing.count,
                    newByteCount: newByteCount))
        }
        return projections
    }
}
