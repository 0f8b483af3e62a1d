package import BackupNames
internal import Catalog
package import Foundation
internal import Logging
package import Retention
internal import Storage

/// Locks of objects: what a store that was asked to keep an object has to say, and what follows from it.
///
/// | object | its lock |
/// |---|---|
/// | a new archive of the agent | set when its upload begins (`newLockEnd`), read back before anything is registered |
/// | its sidecar | as long, set before the backup is registered |
/// | a copy, at a backend that locks | as long as the original's |
/// | what takes the place of an archive (`GenerationChange`) | as long as the old one's, the sidecar too |
/// | what was made otherwise | what the backend's configuration says; `renewLocks` finds what retention keeps |
///
/// A legal hold at the store (`Int64.max`) is its who set it, and is carried nowhere. What is locked and not wanted any more stays in the
/// journal, or marked, and goes at the first start after its lock.
extension Engine {
    /// Until when a new backup of a disk is to be locked, for it is the first good one of some periods; nil: not at all.
    package func newLockEnd(
        of disk: DiskName, at time: Int64, _ policy: RetentionPolicy, in timeZone: TimeZone, _ locks: RetentionLocks
    ) throws(EngineError) -> Int64? {
        guard !locks.isEmpty else { return nil }
        do {
            let backups = try retainedBackups(of: disk)
            let copies = Dictionary(grouping: backups, by: \.identifier.date)
            let points = retentionPoints(copies, try checks(of: backups, disk), held: [])
            let classes = RetentionPlan.classes(ofNewPointAt: time, after: points, policy: policy, timeZone: timeZone)
            return locks.seconds(of: classes, policy).map { max(time, clock.secondsSince1970) + $0 }
        } catch {
            throw EngineError(error, subject: "\(disk)")
        }
    }

    /// Until when an archive is locked, as its store says now; nil where its backend locks nothing. Throws where that is before
    /// `end`: a lock that is not there must not be believed in.
    func readLock(of key: ObjectKey, at backend: Backend, demanding end: Int64? = nil) throws -> Int64? {
        guard backend.locksObjects || end != nil else { return nil }
        let found = try lockEnd(of: key, at: backend)
        if let end, found ?? .min < end {
            throw EngineError(
                .backendDenied, "\"\(backend.name)\" did not lock \(key) until \(BackupDate(secondsSince1970: end))",
                hint: "was the bucket made with object lock?")
        }
        return found
    }

    /// The lock that a new archive of a backup takes over at a backend: the old one's.
    func carriedLockEnd(of record: BackupRecord, to target: Backend) throws -> Int64? {
        let source = try backend(record.identifier.backend)
        var ends = [record.lockedUntil]
        do {
            ends.append(try lockEnd(of: source.archiveKey(of: record.place), at: source))
        } catch {
            // It may be away, and a replica stand in; what is known of it holds.
            log.warning("\(record.identifier): its lock cannot be asked for: \(error)")
        }
        guard let end = ends.compactMap(\.self).filter({ $0 < .max }).max(), end > clock.secondsSince1970 else {
            return nil
        }
        guard target.locksObjects else {
            log.notice(
                "\(record.identifier) is locked until \(BackupDate(secondsSince1970: end)); \"\(target.name)\" locks nothing"
            )
            return nil
        }
        return end
    }

    /// Locks a sidecar as long as its archive.
    func lockSidecar(_ key: ObjectKey, at backend: Backend, until end: Int64?) throws {
        if let end { try backend.store.lock(key, until: end) }
    }

    /// Removes an object of ours, its bytes too; `.held` where it is locked.
    func purge(_ key: ObjectKey, at backend: Backend) throws {
        if backend.locksObjects, let end = try lockEnd(of: key, at: backend), end > clock.secondsSince1970 {
            throw EngineError(.held, "\(key) is locked by its store \(Self.until(end))")
        }
        try backend.store.purge(key)
    }

    /// nil where the object is not locked, or not there.
    func lockEnd(of key: ObjectKey, at backend: Backend) throws(StorageError) -> Int64? {
        do {
            return try backend.store.lockedUntil(key)
        } catch {
            if error.code == .absent { return nil }
            throw error
        }
    }

    static func until(_ end: Int64) -> String {
        end == .max ? "until a legal hold is taken back" : "until \(BackupDate(secondsSince1970: end))"
    }
}
