package import BackupNames
package import Catalog

/// When something about a disk is overdue, in seconds; nil: never.
package struct StatusThresholds: Sendable, Hashable {
    /// The age of the newest good backup.
    package var recoveryPoint: Int64?
    /// The time since a backup of the disk was last verified.
    package var verify: Int64?
    /// The time since a drill of the disk last went well.
    package var drill: Int64?

    package static let standard = StatusThresholds(
        recoveryPoint: 26 * 3600, verify: 8 * 86_400, drill: 35 * 86_400)

    package init(recoveryPoint: Int64?, verify: Int64?, drill: Int64?) {
        self.recoveryPoint = recoveryPoint
        self.verify = verify
        self.drill = drill
    }
}

/// What is overdue of a disk.
package enum OverdueCare: String, Sendable, CaseIterable { case recoveryPoint = "rpo", verify, drill }

/// What the catalog knows about the recovery of one disk, at all backends together. A value: no clock, no catalog.
///
/// A good backup is a registered one whose checks found nothing wrong (`BackupHealth`). Times are seconds since 1970.
package struct ResourceStatus: Sendable, Hashable {
    /// A backend that has backups of the disk.
    package struct Place: Sendable, Hashable {
        package let backend: ResourceName
        package let backupCount: Int
        package let lastGood: BackupSummary?
    }

    package let disk: DiskName
    package let places: [Place]
    package let backupCount: Int
    /// Those that a check has found something wrong with.
    package let badBackups: [BackupIdentifier]
    /// The newest that is registered, good or not, and its checks.
    package let newest: BackupSummary
    package let newestChecks: [CheckRecord]
    package let lastGood: BackupSummary?
    /// How the consistent point of the last good backup was reached, of the newest where none is good; nil: nobody has looked.
    package internal(set) var consistency: String?
    package let recoveryTime: RecoveryTime
    /// The newest drill, however it went.
    package let lastDrill: RunRecord?
    package let lastGoodDrill: RunRecord?
    /// When all of a backup of the disk, or its archive, was last found right.
    package let verifiedAt: Int64?

    /// RPO: the age of the newest good backup in seconds; nil where none is good.
    package func recoveryPoint(now: Int64) -> Int64? {
        lastGood.map { RecoveryFigures.recoveryPoint(createdAt: $0.createdAt, now: now) }
    }

    /// What should have been done by now. What never was is overdue.
    package func overdue(now: Int64, _ thresholds: StatusThresholds) -> [OverdueCare] {
        func isOver(_ last: Int64?, _ limit: Int64?) -> Bool {
            guard let limit else { return false }
            return last.map { RecoveryFigures.recoveryPoint(createdAt: $0, now: now) > limit } ?? true
        }
        return OverdueCare.allCases.filter { care in
            switch care {
            case .recoveryPoint: isOver(lastGood?.createdAt, thresholds.recoveryPoint)
            case .verify: isOver(verifiedAt, thresholds.verify)
            case .drill: isOver(lastGoodDrill?.startedAt, thresholds.drill)
            }
        }
    }

    /// What was looked at and found wrong, for people; empty where nothing was.
    package var failures: [String] {
        var failures = badBackups.map { "\($0) is bad" }
        if let lastDrill, !lastDrill.isGood { failures.append("the last drill failed: \(lastDrill.outcome)") }
        return failures
    }

    /// One for each disk that has a backup, by name. `bytesPerSecond` is what each backend has given of late.
    package static func list(
        _ backups: [BackupSummary], checks: [BackupIdentifier: [CheckRecord]], drills: [DiskName: RunRecord],
        goodDrills: [DiskName: RunRecord], bytesPerSecond: [ResourceName: Double]
    ) -> [ResourceStatus] {
        Dictionary(grouping: backups) { $0.identifier.diskName }.compactMap { disk, backups -> ResourceStatus? in
            let ordered = backups.sorted(by: isNewer)
            guard let newest = ordered.first else { return nil }
            func isGood(_ backup: BackupSummary) -> Bool {
                BackupHealth.finding(checks[backup.identifier] ?? []) == nil
            }
            let lastGood = ordered.first(where: isGood)
            let places = Dictionary(grouping: ordered) { $0.identifier.backend }.map { backend, backups in
                Place(backend: backend, backupCount: backups.count, lastGood: backups.first(where: isGood))
            }
            let restored = lastGood ?? newest
            return ResourceStatus(
                disk: disk, places: places.sorted { $0.backend < $1.backend }, backupCount: backups.count,
                badBackups: ordered.filter { !isGood($0) }.map(\.identifier), newest: newest,
                newestChecks: checks[newest.identifier] ?? [], lastGood: lastGood,
                recoveryTime: RecoveryFigures.recoveryTime(
                    rawByteCount: restored.rawByteCount, measuredMilliseconds: goodDrills[disk]?.totalMilliseconds,
                    bytesPerSecond: bytesPerSecond[restored.identifier.backend]),
                lastDrill: drills[disk], lastGoodDrill: goodDrills[disk],
                verifiedAt: backups.compactMap { BackupHealth.verifiedAt(checks[$0.identifier] ?? []) }.max())
        }.sorted { ($0.disk.org, $0.disk.vm, $0.disk.disk) < ($1.disk.org, $1.disk.vm, $1.disk.disk) }
    }

    /// Of copies of one backup the backend whose name comes first counts as the newest.
    private static func isNewer(_ left: BackupSummary, _ right: BackupSummary) -> Bool {
        (left.createdAt, right.identifier.backend) > (right.createdAt, left.identifier.backend)
    }
}

extension Engine {
    /// What the catalog knows now.
    package func resources() throws(EngineError) -> [ResourceStatus] {
        do throws(CatalogError) {
            var rates: [ResourceName: Double] = [:]
            for backend in backends.keys {
                let runs = try catalog.goodRuns(at: backend, limit: RecoveryFigures.sampleLimit)
                rates[backend] = RecoveryFigures.bytesPerSecond(
                    runs.map {
                        RecoveryFigures.Sample(rawByteCount: $0.rawByteCount, milliseconds: $0.totalMilliseconds)
                    })
            }
            var resources = ResourceStatus.list(
                try catalog.allBackups(), checks: try catalog.allChecks(),
                drills: try catalog.newestDrills(onlyGood: false), goodDrills: try catalog.newestDrills(onlyGood: true),
                bytesPerSecond: rates)
            for index in resources.indices {
                let shown = resources[index].lastGood ?? resources[index].newest
                resources[index].consistency = try catalog.consistency(of: shown.identifier)
            }
            return resources
        } catch {
            throw EngineError(error, subject: "status")
        }
    }

    package func thresholds(of org: ResourceName) -> StatusThresholds { orgs[org]?.thresholds ?? thresholds }

    /// Orgs of the configuration that should have backups and have none: nothing else would tell.
    package func orgsWithoutBackup(_ resources: [ResourceStatus]) -> [ResourceName] {
        let present = Set(resources.map(\.disk.org))
        return orgs.keys.filter { !present.contains($0) && thresholds(of: $0).recoveryPoint != nil }.sorted()
    }
}
