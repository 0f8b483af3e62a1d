internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Foundation
internal import RangeCache
internal import Snapshots
internal import Storage

/// `status.json`: every disk with RPO, RTO and what is overdue, what is being uploaded, and the last errors.
extension BackupFilesystem {
    private struct Report: Encodable {
        let format = 1
        let tool: String
        let time: String
        let backends: [Store]
        let cache: Cache?
        let replicas: Replicas
        let resources: [ResourceReport]
        /// In-cluster copies, not backups: counted nowhere else.
        let snapshots: [SnapshotStatusReport]
        /// Of the configuration.
        let orgs_without_backup: [String]
        let uploads: [Upload]
        let errors: [Problem]
    }

    private struct Store: Encodable {
        let name: String
        let country: String?
        let dr: Bool
        /// False while nobody answers.
        let there: Bool
        let away_seconds: Int?
        let requests: UInt64
        let repeated_requests: UInt64
        let throttled: UInt64
        let outages: UInt64
        let last_problem: String?
    }

    /// The disk cache of ciphertext.
    private struct Cache: Encodable {
        let state: String
        let capacity: UInt64
        let hits: UInt64
        let misses: UInt64
        let served_bytes: UInt64
        let inserted_bytes: UInt64
        let evicted_bytes: UInt64
        let bad_blocks: UInt64
        let timeouts: UInt64
    }

    /// What replicas had to stand in for since the mount began.
    private struct Replicas: Encodable {
        let healed_ranges: UInt64
        let unreachable_ranges: UInt64
        let bytes: UInt64
    }

    private struct Upload: Encodable {
        let staged: String
        let state: String
        let received_bytes: UInt64
        let uploaded_bytes: UInt64
        let error: String?
    }

    private struct Problem: Encodable {
        let time: String
        let error: String
    }

    private func snapshotStatus(_ now: Int64) throws -> [SnapshotStatusReport] {
        guard let snapshots else { return [] }
        return SnapshotStatus.list(try snapshots.all()).map { SnapshotStatusReport($0, now: now) }
    }

    func statusJSON() throws -> [UInt8] {
        let now = engine.clock.secondsSince1970
        let resources = try resources.current()
        let uploads = staging.all.compactMap { file -> Upload? in
            let facts = file.snapshot
            let (state, error): (String, String?)
            switch facts.state {
            case .streaming: (state, error) = ("streaming", nil)
            case .committing: (state, error) = ("committing", nil)
            case .held: (state, error) = ("held", nil)
            case .failed(let reason): (state, error) = ("failed", reason)
            case .empty, .committed: return nil
            }
            let folder = facts.name.folder
            return Upload(
                staged: "\(folder.backend)/\(folder.org)/\(folder.vm)/\(facts.name.fileName)", state: state,
                received_bytes: facts.receivedByteCount,
                uploaded_bytes: facts.session?.writer.progress.archiveByteCount ?? 0, error: error)
        }.sorted { $0.staged < $1.staged }
        let problems = errors.all.map {
            Problem(time: BackupDate(secondsSince1970: $0.secondsSince1970).description, error: $0.text)
        }
        let stores = engine.backends.values.sorted { $0.name < $1.name }.map { backend in
            let condition = backend.store.condition
            return Store(
                name: backend.name.description, country: backend.country, dr: backend.isDisasterRecovery,
                there: condition.isThere, away_seconds: condition.awayForSeconds, requests: condition.requests,
                repeated_requests: condition.repetitions, throttled: condition.throttled, outages: condition.outages,
                last_problem: condition.lastProblem)
        }
        let cache = engine.rangeCache.map { cache in
            let status = cache.status
            return Cache(
                state: "\(status.state)", capacity: status.capacityByteCount,
                hits: status.hitCount + status.partialHitCount, misses: status.missCount,
                served_bytes: status.servedByteCount, inserted_bytes: status.insertedByteCount,
                evicted_bytes: status.evictedByteCount, bad_blocks: status.badBlockCount, timeouts: status.timeoutCount)
        }
        let report = Report(
            tool: Engine.toolVersion, time: BackupDate(secondsSince1970: now).description, backends: stores,
            cache: cache,
            replicas: Replicas(
                healed_ranges: engine.replicaUse.healedRanges, unreachable_ranges: engine.replicaUse.unreachableRanges,
                bytes: engine.replicaUse.byteCount),
            resources: resources.map { ResourceReport($0, engine, now: now) },
            snapshots: try snapshotStatus(now),
            orgs_without_backup: engine.orgsWithoutBackup(resources).map(\.description), uploads: uploads,
            errors: problems)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(report)) + [UInt8(ascii: "\n")]
    }
}
