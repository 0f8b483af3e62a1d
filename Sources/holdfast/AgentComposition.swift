internal import Agent
internal import BackupEngine
internal import BackupNames
internal import BlockSources
internal import Catalog
internal import Configuration
internal import Daemon
internal import Foundation
internal import Logging
internal import Moments
internal import Retention
internal import Snapshots

extension Configuration {
    /// The disks that are backed up without anybody asking, as the agent wants them.
    func automaticDisks(_ log: Logger) throws -> [AutomaticDisk] {
        try disks.compactMap { disk in
            guard let automation = automation(of: disk), let policy = automation.policy else { return nil }
            let opener = SourceOpener(
                disk.source, format: try disk.imageFormat,
                method: MomentMethod(rawValue: automation.consistency ?? "auto") ?? .auto,
                isRequired: automation.requiresConsistency ?? false, stateDirectory: stateDirectory, log: log)
            return AutomaticDisk(
                name: disk.name, policy: policy, window: automation.window ?? .allDay,
                targets: targets(automation, of: disk.name.org),
                locks: automation.locks ?? RetentionLocks()
            ) {
                try opener.open { log.warning("\(disk.name): \($0)") }
            }
        }
    }

    /// The disks of which snapshots are made without anybody asking: those whose image lies in a pool that says how often.
    func snapshotDisks(_ snapshots: Snapshots, _ log: Logger) throws -> [SnapshotDisk] {
        try disks.compactMap { disk -> SnapshotDisk? in
            guard let pool = pool(of: disk), let policy = pool.policy else { return nil }
            let taker = try SnapshotTaker(disk, self, snapshots)
            let cadence: RetentionClass =
                switch policy.every {
                case .daily: .daily
                case .weekly: .weekly
                }
            return SnapshotDisk(
                name: disk.name, pool: pool.name, cadence: cadence, keep: policy.keep, window: pool.window ?? .allDay
            ) { progress in
                try taker.take(progress: progress) { log.warning("\(disk.name): \($0)") }
            }
        }
    }

    /// By the path without links where there is one; an image that is not there now is where it is said to be.
    private func pool(of disk: Disk) -> Pool? {
        guard BlockSource.isFile(disk.source) else { return nil }
        func real(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }
        let path = real(disk.source)
        return pools.first { path.hasPrefix(real($0.path) + "/") }
    }

    /// Where automatic backups of a disk go, or would; none where nothing says so.
    func automaticTargets(of disk: DiskName) -> [ResourceName] { targets(auto(of: disk), of: disk.org) }

    private func targets(_ automation: AutoBackup, of org: ResourceName) -> [ResourceName] {
        switch automaticTarget(automation, of: org) {
        case .backend(let name): [name]
        case .random: disasterRecoveryBackends
        // The configuration was refused where this could be.
        case nil: []
        }
    }
}

extension Configuration.Disk {
    var imageFormat: ImageFormat {
        get throws {
            guard let format else { return .auto }
            guard let known = ImageFormat(rawValue: format) else {
                throw EngineError(
                    .source, "the disk \(name) has the format \"\(format)\", which is none",
                    hint: "one of " + ImageFormat.allCases.map(\.rawValue).joined(separator: ", "))
            }
            return known
        }
    }
}

extension Agent {
    convenience init(
        _ engine: Engine, _ configuration: Configuration, _ disks: [AutomaticDisk]
    ) throws {
        let limits = configuration.agent
        var settings = AgentSettings()
        settings.limits = AgentPlan.Limits(overall: limits.concurrency, perTarget: limits.concurrencyPerBackend)
        settings.pruneShare = limits.pruneShare
        settings.verifyDepth = CheckDepth(rawValue: limits.verifyDepth) ?? .presence
        try self.init(engine, disks, settings, sharing: try limits.sharedBackend.map { try engine.backend($0) })
    }
}
