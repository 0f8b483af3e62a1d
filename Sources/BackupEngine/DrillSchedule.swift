package import BackupNames
package import Catalog

/// Which disks a drill is due for, and in which order: pure.
package enum DrillSchedule {
    /// A disk with what decides about its next drill; times are seconds since 1970.
    package struct Candidate: Sendable, Hashable {
        /// Its newest backup: what would be restored if the disk were lost now.
        package let backup: BackupSummary
        /// The newest drill that went well.
        package let lastGood: Int64?
        /// The newest drill, however it went.
        package let lastTried: Int64?

        package init(backup: BackupSummary, lastGood: Int64?, lastTried: Int64?) {
            self.backup = backup
            self.lastGood = lastGood
            self.lastTried = lastTried
        }
    }

    /// Those whose last good drill is `interval` seconds old or older, or that never had one; no interval, no drill.
    ///
    /// What was not tried for longest comes first, so that with a limit a disk whose drills fail keeps no other from its turn.
    package static func due(
        _ candidates: [Candidate], now: Int64, interval: (ResourceName) -> Int64?
    ) -> [Candidate] {
        candidates.filter { candidate in
            guard let interval = interval(candidate.backup.identifier.org) else { return false }
            return candidate.lastGood.map { now - $0 >= interval } ?? true
        }.sorted(by: isEarlier)
    }

    private static func isEarlier(_ left: Candidate, _ right: Candidate) -> Bool {
        if left.lastTried != right.lastTried { return (left.lastTried ?? .min) < (right.lastTried ?? .min) }
        if left.backup.createdAt != right.backup.createdAt { return left.backup.createdAt < right.backup.createdAt }
        return "\(left.backup.identifier)" < "\(right.backup.identifier)"
    }

    /// One candidate for each disk: its newest backup, at whichever backend.
    package static func candidates(
        _ backups: [BackupSummary], good: [DiskName: RunRecord], tried: [DiskName: RunRecord]
    ) -> [Candidate] {
        Dictionary(grouping: backups) { $0.identifier.diskName }.values.compactMap { backups in
            guard let newest = backups.max(by: isOlder) else { return nil }
            let disk = newest.identifier.diskName
            return Candidate(backup: newest, lastGood: good[disk]?.startedAt, lastTried: tried[disk]?.startedAt)
        }
    }

    /// Of copies of one backup the backend whose name comes first counts as the newest.
    private static func isOlder(_ left: BackupSummary, _ right: BackupSummary) -> Bool {
        (left.createdAt, right.identifier.backend) < (right.createdAt, left.identifier.backend)
    }
}

extension Engine {
    /// The disks whose drill is due now, those not tried for longest first.
    package func dueDrills(interval: (ResourceName) -> Int64?) throws(EngineError) -> [BackupIdentifier] {
        try DrillSchedule.due(drillCandidates(), now: clock.secondsSince1970, interval: interval)
            .map(\.backup.identifier)
    }

    /// The newest backup of each disk of an org.
    package func newestBackups(of org: ResourceName) throws(EngineError) -> [BackupIdentifier] {
        try DrillSchedule.due(drillCandidates(), now: clock.secondsSince1970) { $0 == org ? .min : nil }
            .map(\.backup.identifier)
    }

    private func drillCandidates() throws(EngineError) -> [DrillSchedule.Candidate] {
        do throws(CatalogError) {
            return DrillSchedule.candidates(
                try catalog.allBackups(), good: try catalog.newestDrills(onlyGood: true),
                tried: try catalog.newestDrills(onlyGood: false))
        } catch {
            throw EngineError(error, subject: "drills")
        }
    }
}
