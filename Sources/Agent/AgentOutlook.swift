package import BackupEngine
package import BackupNames
internal import Catalog
package import Retention

/// What stands for one disk now, for people: the agent decides by the same facts.
package struct AgentOutlook: Sendable, Hashable {
    package let disk: DiskName
    package let decision: RunDecision
    /// When the newest good run began, seconds since 1970.
    package let lastGoodAt: Int64?
    package let failureCount: Int
    package let targets: [ResourceName]

    /// In the order of the disks. Takes no lease: an agent may be at work.
    package static func list(_ engine: Engine, _ disks: [AutomaticDisk]) throws(EngineError) -> [AgentOutlook] {
        do {
            let now = engine.clock.secondsSince1970
            return try disks.map { disk in
                let history = try engine.history(of: disk.name).runs
                return AgentOutlook(
                    disk: disk.name,
                    decision: RunDecision.decide(
                        policy: disk.policy, window: disk.window, history: history, seed: disk.seed, now: now),
                    lastGoodAt: history.lastGoodAt, failureCount: history.failureCount, targets: disk.targets)
            }
        } catch {
            throw EngineError(error, subject: "agent")
        }
    }
}

/// What has become of a disk's automatic backups.
struct DiskHistory: Sendable, Hashable {
    var runs = RunHistory()
    /// Where the last run failed, if it did: another place is tried first.
    var failedPlace: ResourceName?
}

extension Engine {
    /// Waiting after failures does not grow beyond so many.
    private static let runLimit = 32

    /// A backup at a DR backend counts that no check has found anything wrong with, whoever made it.
    func history(of disk: DiskName) throws -> DiskHistory {
        let runs = try catalog.backupRuns(of: disk, .backup, limit: Self.runLimit).filter { !$0.isRunning }
        let newestFirst = try retainedBackups(of: disk).sorted { $0.createdAt > $1.createdAt }
        let good = try newestFirst.first { BackupHealth.finding(try catalog.checks($0.identifier)) == nil }
        // A run belongs to the window in which it began, not to that in which its source was ready.
        let lastGood = good.map { good in
            runs.first { $0.date == good.identifier.date }.map(\.startedAt) ?? good.createdAt
        }
        let failed = runs.failuresSinceGood
        return DiskHistory(
            runs: RunHistory(
                lastGoodAt: lastGood, lastFailedAt: failed.first.flatMap { $0.endedAt ?? $0.startedAt },
                failureCount: failed.count), failedPlace: failed.first?.place)
    }
}

extension [BackupRunRecord] {
    /// Of runs of one kind, the newest first: those that failed since the last good one. One that was cancelled is no failure of the disk.
    var failuresSinceGood: [BackupRunRecord] {
        prefix { !$0.isGood }.filter { $0.outcome != EngineError.Code.cancelled.rawValue }
    }
}
