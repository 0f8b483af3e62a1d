internal import BackupNames
internal import Catalog

/// A `ResourceStatus` as JSON: in `status.json`, and of `holdfast status --json`. Times are written as backups' dates are.
package struct ResourceReport: Encodable, Sendable {
    package struct Place: Encodable, Sendable {
        let backend: String
        let dr: Bool
        let backups: Int
        let last_good_backup: String?
        let rpo_seconds: Int64?
    }

    package struct Drill: Encodable, Sendable {
        let backup: String
        let time: String
        let result: String
        let detail: String
        let seconds: Double
    }

    package struct Check: Encodable, Sendable {
        let depth: String
        let time: String
        let good_time: String?
        let result: String
        let detail: String
    }

    let org: String
    let vm: String
    let disk: String
    /// Of the last good backup; of the newest where none is good.
    let backend: String
    let last_backup: String
    let last_good_backup: String?
    /// How its consistent point was reached: `none` where the source was read as it was.
    let consistency: String?
    /// The age of the last good backup.
    let rpo_seconds: Int64?
    let rto_seconds: Double?
    /// `measured`, `estimated`, `unknown`
    let rto_source: String
    let last_drill: Drill?
    let last_good_drill: String?
    let last_verify: String?
    /// Of the newest backup: the last one of each depth.
    let checks: [Check]
    let backups: Int
    let bad_backups: [String]
    let raw_size: UInt64
    let archive_size: UInt64
    let places: [Place]
    package let overdue: [String]
    package let failures: [String]

    package init(_ status: ResourceStatus, _ engine: Engine, now: Int64) {
        func date(_ seconds: Int64) -> String { BackupDate(secondsSince1970: seconds).description }
        let shown = status.lastGood ?? status.newest
        org = status.disk.org.description
        vm = status.disk.vm.description
        disk = status.disk.disk.description
        backend = shown.identifier.backend.description
        last_backup = status.newest.identifier.date.description
        last_good_backup = status.lastGood?.identifier.date.description
        consistency = status.consistency
        rpo_seconds = status.recoveryPoint(now: now)
        rto_seconds = status.recoveryTime.milliseconds.map { Double($0) / 1000 }
        rto_source = status.recoveryTime.source
        last_drill = status.lastDrill.map { run in
            Drill(
                backup: "\(run.identifier)", time: date(run.startedAt), result: run.outcome, detail: run.detail,
                seconds: Double(run.totalMilliseconds) / 1000)
        }
        last_good_drill = status.lastGoodDrill.map { date($0.startedAt) }
        last_verify = status.verifiedAt.map(date)
        checks = status.newestChecks.map { check in
            Check(
                depth: check.depth.rawValue, time: date(check.checkedAt), good_time: check.goodAt.map(date),
                result: check.outcome, detail: check.detail)
        }
        backups = status.backupCount
        bad_backups = status.badBackups.map(\.description)
        raw_size = shown.rawByteCount
        archive_size = shown.archiveByteCount
        places = status.places.map { place in
            Place(
                backend: place.backend.description, dr: engine.backends[place.backend]?.isDisasterRecovery ?? false,
                backups: place.backupCount, last_good_backup: place.lastGood?.identifier.date.description,
                rpo_seconds: place.lastGood.map {
                    RecoveryFigures.recoveryPoint(createdAt: $0.createdAt, now: now)
                })
        }
        overdue = status.overdue(now: now, engine.thresholds(of: status.disk.org)).map(\.rawValue)
        failures = status.failures
    }
}
