/// For how long a store is asked to keep a backup whoever wants it gone, by what the backup stands for. A value made of values.
///
/// | backup | its lock when it is made | while retention keeps it |
/// |---|---|---|
/// | the first of a period | the longest of its classes' | never runs out |
/// | first of none: the second of a day, say | that of the policy's shortest class | the same while it is the newest good one |
/// | of a class without a lock | none | none |
/// | spared only by a hold or a lock, failed, not checked, of the future | | is not lengthened |
///
/// A lock that is about to run out is lengthened by a week at most, so that what retention drops goes soon after.
package struct RetentionLocks: Sendable, Hashable {
    /// How far a lock is lengthened at once.
    package static let longestStepSeconds: Int64 = 7 * 86_400
    /// The agent looks once a day: one that ends before the next look, with half a day to spare, is due.
    package static let leastLeftSeconds: Int64 = 36 * 3600

    private let seconds: [RetentionClass: Int64]

    package init(_ seconds: [RetentionClass: Int64] = [:]) {
        precondition(seconds.values.allSatisfy { $0 > 0 }, "internal error: a lock that ends before it begins")
        self.seconds = seconds
    }

    package var isEmpty: Bool { seconds.isEmpty }

    package subscript(retentionClass: RetentionClass) -> Int64? { seconds[retentionClass] }

    /// The longest lock of the classes that a backup is the first of; nil: it is not locked.
    package func seconds(of classes: Set<RetentionClass>, _ policy: RetentionPolicy) -> Int64? {
        let counted = classes.isEmpty ? Set([policy.cadence].compactMap(\.self)) : classes
        return counted.compactMap { seconds[$0] }.max()
    }

    /// Until when the lock of a backup, which ends at `end` (nil: it has none), is to be lengthened; nil: it stays as it is. Never
    /// before `end`: locks are not shortened.
    package func renewal<ID>(
        of entry: RetentionPlan<ID>.Entry, lockedUntil end: Int64?, _ policy: RetentionPolicy, now: Int64
    ) -> Int64? {
        guard case .keep(let reasons) = entry.verdict, !entry.isSpared else { return nil }
        var classes: Set<RetentionClass> = []
        var counts = false
        for reason in reasons {
            switch reason {
            case .slot(let retentionClass, _, _, _):
                classes.insert(retentionClass)
                counts = true
            case .newestGood: counts = true
            case .held, .locked, .notChecked, .nothingNewerIsGood, .policyIsOff: break
            // Its classes are not known before its time has come.
            case .future: return nil
            }
        }
        guard counts, let seconds = seconds(of: classes, policy) else { return nil }
        let step = min(seconds, Self.longestStepSeconds)
        let left = max(0, (end ?? now) - now)
        guard left < max(step / 2, Self.leastLeftSeconds), left < step else { return nil }
        return now + step
    }
}
