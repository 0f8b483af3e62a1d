internal import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Foundation

/// What stands beside a snapshot in its pool, `<date>.json`: its row of the catalog. So a snapshot whose row was not written yet, or
/// whose catalog is lost, is known again.
struct SnapshotFacts: Codable, Hashable, Sendable {
    static let byteLimit = 64 << 10

    var format = 1
    /// For whoever finds it.
    var note = SnapshotIdentifier.label
    let created_at: Int64
    let origin: String
    let consistency: String
    let raw_size: UInt64
    let data_size: UInt64
    let raw_sha256: String

    init(_ record: SnapshotRecord) {
        created_at = record.createdAt
        origin = record.origin
        consistency = record.consistency
        raw_size = record.rawByteCount
        data_size = record.dataByteCount
        raw_sha256 = record.rawSHA256.withUnsafeBytes { SHA256Digest($0) }.hexadecimal
    }

    /// nil for what is none.
    init?(_ bytes: [UInt8]) {
        guard let facts = try? JSONDecoder().decode(Self.self, from: Data(bytes)), facts.format == 1 else { return nil }
        self = facts
    }

    /// nil where the hash is none.
    func record(_ identifier: SnapshotIdentifier) -> SnapshotRecord? {
        guard let hash = SHA256Digest(hexadecimal: raw_sha256) else { return nil }
        return SnapshotRecord(
            identifier: identifier, createdAt: created_at, origin: origin, consistency: consistency,
            rawByteCount: raw_size, dataByteCount: data_size, rawSHA256: hash.bytes)
    }

    var bytes: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self) else {
            preconditionFailure("internal error: facts that cannot be written")
        }
        return Array(data) + [UInt8(ascii: "\n")]
    }
}
