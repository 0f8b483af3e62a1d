package import BackupNames
package import Catalog
internal import CryptoPrimitives

/// The snapshots of one disk in one pool, for `status`: apart from everything that is said of backups.
package struct SnapshotStatus: Sendable, Hashable {
    package let pool: ResourceName
    package let disk: DiskName
    package let count: Int
    package let oldest: SnapshotRecord
    package let newest: SnapshotRecord
    /// What they took of the pool when they were made.
    package let dataByteCount: UInt64

    /// By disk, then pool.
    package static func list(_ records: [SnapshotRecord]) -> [SnapshotStatus] {
        let pools = Dictionary(grouping: records, by: \.identifier.pool)
        return pools.flatMap { pool, records in
            Dictionary(grouping: records, by: \.identifier.diskName).compactMap { disk, records -> SnapshotStatus? in
                let ordered = records.sorted { $0.identifier.date < $1.identifier.date }
                guard let oldest = ordered.first, let newest = ordered.last else { return nil }
                return SnapshotStatus(
                    pool: pool, disk: disk, count: records.count, oldest: oldest, newest: newest,
                    dataByteCount: records.reduce(0) { $0 &+ $1.dataByteCount })
            }
        }.sorted { ("\($0.disk)", $0.pool) < ("\($1.disk)", $1.pool) }
    }
}

/// A `SnapshotStatus` as JSON: in `status.json`, and of `holdfast status --json`.
package struct SnapshotStatusReport: Encodable, Sendable {
    /// That it is no backup.
    let kind: String
    let pool: String
    let org: String
    let vm: String
    let disk: String
    let snapshots: Int
    let oldest: String
    let newest: String
    let newest_age_seconds: Int64
    let data_size: UInt64

    package init(_ status: SnapshotStatus, now: Int64) {
        kind = SnapshotIdentifier.label
        pool = "\(status.pool)"
        org = "\(status.disk.org)"
        vm = "\(status.disk.vm)"
        disk = "\(status.disk.disk)"
        snapshots = status.count
        oldest = "\(status.oldest.identifier.date)"
        newest = "\(status.newest.identifier.date)"
        newest_age_seconds = max(0, now - status.newest.createdAt)
        data_size = status.dataByteCount
    }
}

/// A snapshot as JSON: of `holdfast snapshot create|list|show`.
package struct SnapshotReport: Encodable, Sendable {
    /// That it is no backup.
    let kind: String
    let snapshot: String
    let pool: String
    let org: String
    let vm: String
    let date: String
    let disk: String
    let created_at: Int64
    let origin: String
    let consistency: String
    let raw_size: UInt64
    let data_size: UInt64
    let raw_sha256: String

    package init(_ record: SnapshotRecord) {
        let identifier = record.identifier
        kind = SnapshotIdentifier.label
        snapshot = "\(identifier)"
        pool = "\(identifier.pool)"
        org = "\(identifier.org)"
        vm = "\(identifier.vm)"
        date = "\(identifier.date)"
        disk = "\(identifier.disk)"
        created_at = record.createdAt
        origin = record.origin
        consistency = record.consistency
        raw_size = record.rawByteCount
        data_size = record.dataByteCount
        raw_sha256 = record.hashText
    }
}

extension SnapshotRecord {
    /// In hexadecimal digits, as `sha256sum` prints it.
    package var hashText: String { rawSHA256.withUnsafeBytes { SHA256Digest($0) }.hexadecimal }
}
