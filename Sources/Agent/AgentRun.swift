internal import BackupEngine
internal import BackupNames
package import Catalog
internal import Logging
internal import Manifest
internal import Retention

/// One run, begun. Performed once; leases are renewed beside it by whoever owns the agent.
package final class AgentRun: Sendable {
    package let disk: AutomaticDisk
    package let record: BackupRunRecord
    private let agent: Agent
    private let leases: [FleetLease]

    init(_ agent: Agent, _ disk: AutomaticDisk, _ record: BackupRunRecord, _ leases: [FleetLease]) {
        self.agent = agent
        self.disk = disk
        self.record = record
        self.leases = leases
    }

    /// Lengthens the leases; one that cannot be renewed holds until it expires.
    package func renewLeases() {
        for lease in leases {
            do throws(EngineError) {
                try lease.renew(seconds: Agent.fleetLeaseSeconds)
            } catch {
                agent.engine.log.warning("\(disk.name): \(error)")
            }
        }
    }

    private var holdsLeases: Bool { leases.allSatisfy(\.isHeld) }

    /// Backs up, checks, prunes, and writes down how it went. `isStopped` is asked as it goes on: true cancels what is under way.
    @discardableResult
    package func perform(isStopped: @escaping () -> Bool = { false }) -> BackupRunRecord {
        var result = record
        let log = agent.engine.log
        do {
            try backUp(&result, isStopped)
            result.outcome = BackupRunRecord.good
        } catch {
            let failure = EngineError(error, subject: "\(disk.name)")
            result.outcome = failure.code.rawValue
            result.detail = failure.detail
            if failure.code == .cancelled {
                log.notice("the backup of \(disk.name) is given up: \(failure)")
            } else {
                log.error("the backup of \(disk.name) to \(record.place) failed: \(failure)")
            }
        }
        if result.isGood { agent.prune(disk, isStopped: isStopped) }
        agent.ended(result)
        for lease in leases { lease.end() }
        return result
    }

    private func backUp(_ result: inout BackupRunRecord, _ isStopped: @escaping () -> Bool) throws {
        let engine = agent.engine
        let backend = try engine.backend(record.place)
        let source = try disk.open()
        defer { source.release() }
        func goOn(_: UInt64, _: UInt64) throws {
            if isStopped() { throw EngineError(.cancelled, "the agent ends") }
            if !holdsLeases { throw EngineError(.cancelled, "its lease was lost: another host may have the disk") }
        }
        try goOn(0, 0)
        let lockEnd = try engine.newLockEnd(
            of: disk.name, at: source.image.consistentAt ?? engine.clock.secondsSince1970, disk.policy,
            in: disk.window.timeZone, disk.locks)
        let manifest = try engine.backUp(
            source.image, as: disk.name, to: backend, lockedUntil: lockEnd, progress: goOn
        ).manifest
        result.date = manifest.identifier.date
        result.rawByteCount = manifest.rawByteCount
        result.storedByteCount = manifest.archiveByteCount
        // Until it was looked at where it is, it does not count.
        let report = try engine.check(manifest.identifier, agent.settings.verifyDepth, progress: goOn)
        if let finding = report.findings.first { throw finding.error }
    }
}
