package import BackupNames
package import Catalog
internal import Logging
package import Retention
internal import Storage

/// What became of a lock that was to be lengthened.
package struct LockRenewal: Sendable {
    package let backup: BackupSummary
    /// Seconds since 1970.
    package let until: Int64
    /// nil: it is locked until then.
    package let error: EngineError?
}

extension Engine {
    /// Lengthens the locks that are about to run out of what the plans keep, of archive and sidecar, at each backend that locks; what
    /// to lengthen until when is `RetentionLocks.renewal`. One that cannot be is told, and the others go on; the next look, a day
    /// later, tries it again.
    package func renewLocks(
        _ plans: [DiskPrune], _ locks: (DiskName) -> RetentionLocks?, isStopped: () -> Bool = { false }
    ) -> [LockRenewal] {
        var renewals: [LockRenewal] = []
        let now = clock.secondsSince1970
        for plan in plans {
            guard let locks = locks(plan.disk) else { continue }
            for entry in plan.plan.entries {
                for copy in plan.copies[entry.point.id] ?? [] {
                    guard let backend = backends[copy.identifier.backend], backend.locksObjects,
                        let until = locks.renewal(of: entry, lockedUntil: copy.lockedUntil, plan.policy, now: now)
                    else { continue }
                    if isStopped() { return renewals }
                    var failure: EngineError?
                    do {
                        try lengthen(copy, until: until, at: backend)
                        log.info("\(copy.identifier) is locked \(Self.until(until))")
                    } catch {
                        let error = EngineError(error, subject: "locking \(copy.identifier)")
                        log.warning("\(error)")
                        failure = error
                    }
                    renewals.append(LockRenewal(backup: copy, until: until, error: failure))
                }
            }
        }
        return renewals
    }

    /// The archive last: what the catalog says of the backup is the archive's.
    private func lengthen(_ copy: BackupSummary, until end: Int64, at backend: Backend) throws {
        try backend.store.lock(backend.manifestKey(of: copy.place), until: end)
        let archiveKey = try backend.archiveKey(of: copy.place)
        try backend.store.lock(archiveKey, until: end)
        try catalog.setLockedUntil(copy.identifier, readLock(of: archiveKey, at: backend, demanding: end))
    }
}
