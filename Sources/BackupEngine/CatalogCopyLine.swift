package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Manifest

/// What a copy says of itself, in its first line.
package struct CatalogCopyHead: Sendable, Hashable {
    package static let format: UInt64 = 1
    static let kind = "holdfast-catalog"

    package let org: ResourceName
    /// The catalog that was copied, by its random name.
    package let origin: String
    /// The backend it was put to, by its name on the host that did so.
    package let backend: ResourceName
    /// When it was made; part of the object's name.
    package let date: BackupDate
    let toolVersion: String
}

/// A line of a copy of the catalog. CatalogCopy.md in the DocC catalog of Catalog lists the members.
///
/// Reading is strict about what is known and passes over lines of an unknown type, so that a later version may add some.
enum CatalogCopyLine: Equatable {
    case head(CatalogCopyHead)
    case backup(CopiedBackup)
    case fact(CopiedFact)
    case unknown

    /// A manifest of the largest size, with every byte escaped, is smaller.
    static let maximumByteCount = 8 << 20

    /// The canonical form and a line feed.
    var bytes: [UInt8] { CanonicalJSON.object(members).bytes + [UInt8(ascii: "\n")] }

    private var members: [String: CanonicalJSON] {
        switch self {
        case .unknown: preconditionFailure("internal error: a line of no type is written")
        case .head(let head):
            return [
                "type": .string(CatalogCopyHead.kind), "format": .integer(CatalogCopyHead.format),
                "org": .string("\(head.org)"), "origin": .string(head.origin), "backend": .string("\(head.backend)"),
                "date": .string("\(head.date)"), "tool": .string(head.toolVersion),
            ]
        case .backup(let backup):
            var members = Self.names(backup.identifier)
            members["type"] = .string("backup")
            members["generation"] = .integer(backup.generation)
            if let object = backup.archiveObject { members["archive_object"] = .string(object) }
            members["created_at"] = .integer(UInt64(clamping: backup.createdAt))
            members["raw_size"] = .integer(backup.rawByteCount)
            members["data_size"] = .integer(backup.dataByteCount)
            members["archive_size"] = .integer(backup.archiveByteCount)
            members["manifest"] = .string(String(decoding: backup.manifestJSON, as: UTF8.self))
            members["header"] = .string(Hexadecimal.text(backup.archiveHeader))
            return members
        case .fact(.check(let identifier, let check)):
            var members = Self.names(identifier)
            members["type"] = .string("check")
            members["depth"] = .string(check.depth.rawValue)
            members["checked_at"] = .integer(UInt64(clamping: check.checkedAt))
            if let good = check.goodAt { members["good_at"] = .integer(UInt64(clamping: good)) }
            members["outcome"] = .string(check.outcome)
            members["detail"] = .string(check.detail)
            return members
        case .fact(.damage(let identifier, let damage)):
            var members = Self.names(identifier)
            members["type"] = .string("damage")
            members["archive_offset"] = .integer(damage.archiveRange.lowerBound)
            members["archive_size"] = .integer(UInt64(damage.archiveRange.count))
            if let frame = damage.frame { members["frame"] = .integer(UInt64(clamping: frame)) }
            members["raw_offset"] = .integer(damage.rawRange.lowerBound)
            members["raw_size"] = .integer(UInt64(damage.rawRange.count))
            members["found_at"] = .integer(UInt64(clamping: damage.foundAt))
            members["detail"] = .string(damage.detail)
            return members
        case .fact(.run(let run)):
            var members = Self.names(run.identifier)
            members["type"] = .string("run")
            members["kind"] = .string(run.kind.rawValue)
            members["started_at"] = .integer(UInt64(clamping: run.startedAt))
            members["outcome"] = .string(run.outcome)
            members["detail"] = .string(run.detail)
            members["raw_size"] = .integer(run.rawByteCount)
            members["fetched_size"] = .integer(run.fetchedByteCount)
            members["total_ms"] = .integer(UInt64(clamping: run.totalMilliseconds))
            members["open_ms"] = .integer(UInt64(clamping: run.openMilliseconds))
            members["fetch_ms"] = .integer(UInt64(clamping: run.fetchMilliseconds))
            members["decode_ms"] = .integer(UInt64(clamping: run.decodeMilliseconds))
            members["write_ms"] = .integer(UInt64(clamping: run.writeMilliseconds))
            members["checks"] = .string(run.checksJSON)
            return members
        }
    }

    private static func names(_ identifier: BackupIdentifier) -> [String: CanonicalJSON] {
        [
            "backend": .string("\(identifier.backend)"), "vm": .string("\(identifier.vm)"),
            "date": .string("\(identifier.date)"), "disk": .string("\(identifier.disk)"),
        ]
    }

    // MARK: Reading

    /// Reads a line without its line feed. The org of a copy is that of its head.
    init(parsing bytes: [UInt8], org: ResourceName) throws {
        guard case .object(let members) = try CanonicalJSON(parsing: bytes, as: "the line") else {
            throw EngineError(.damaged, "a line of the copy is no object")
        }
        let reader = LineReader(members: members)
        switch try reader.text("type") {
        case CatalogCopyHead.kind:
            let format = try reader.integer("format")
            guard format == CatalogCopyHead.format else {
                throw EngineError(
                    .notAuthentic, "the copy has format \(format); this program knows \(CatalogCopyHead.format)")
            }
            self = .head(
                CatalogCopyHead(
                    org: try ResourceName(reader.text("org")), origin: try reader.text("origin"),
                    backend: try ResourceName(reader.text("backend")), date: try BackupDate(reader.text("date")),
                    toolVersion: try reader.text("tool")))
        case "backup":
            self = .backup(
                CopiedBackup(
                    identifier: try reader.identifier(org), generation: try reader.integer("generation"),
                    archiveObject: try reader.optionalText("archive_object"),
                    createdAt: try reader.signed("created_at"),
                    rawByteCount: try reader.integer("raw_size"), dataByteCount: try reader.integer("data_size"),
                    archiveByteCount: try reader.integer("archive_size"),
                    manifestJSON: Array(try reader.text("manifest").utf8),
                    archiveHeader: try Hexadecimal.bytes(reader.text("header"))))
        case "check":
            guard let depth = CheckDepth(rawValue: try reader.text("depth")) else {
                self = .unknown
                return
            }
            let check = CheckRecord(
                depth: depth, checkedAt: try reader.signed("checked_at"), goodAt: try reader.optionalSigned("good_at"),
                outcome: try reader.text("outcome"), detail: try reader.text("detail"))
            self = .fact(.check(try reader.identifier(org), check))
        case "damage":
            let damage = DamageRecord(
                archiveRange: try reader.range("archive_offset", "archive_size"),
                frame: try reader.optionalSigned("frame").map { Int($0) },
                rawRange: try reader.range("raw_offset", "raw_size"), foundAt: try reader.signed("found_at"),
                detail: try reader.text("detail"))
            self = .fact(.damage(try reader.identifier(org), damage))
        case "run":
            guard let kind = RunRecord.Kind(rawValue: try reader.text("kind")) else {
                self = .unknown
                return
            }
            self = .fact(
                .run(
                    RunRecord(
                        kind: kind, identifier: try reader.identifier(org), startedAt: try reader.signed("started_at"),
                        outcome: try reader.text("outcome"), detail: try reader.text("detail"),
                        rawByteCount: try reader.integer("raw_size"),
                        fetchedByteCount: try reader.integer("fetched_size"),
                        totalMilliseconds: try reader.signed("total_ms"),
                        openMilliseconds: try reader.signed("open_ms"),
                        fetchMilliseconds: try reader.signed("fetch_ms"),
                        decodeMilliseconds: try reader.signed("decode_ms"),
                        writeMilliseconds: try reader.signed("write_ms"), checksJSON: try reader.text("checks"))))
        default: self = .unknown
        }
    }
}

/// Takes typed members out of a line, naming the one that is missing or of another type.
private struct LineReader {
    let members: [String: CanonicalJSON]

    func integer(_ name: String) throws -> UInt64 {
        guard case .integer(let value)? = members[name] else { throw missing(name) }
        return value
    }

    func signed(_ name: String) throws -> Int64 {
        guard let value = Int64(exactly: try integer(name)) else { throw missing(name) }
        return value
    }

    func optionalSigned(_ name: String) throws -> Int64? { members[name] == nil ? nil : try signed(name) }

    func text(_ name: String) throws -> String {
        guard case .string(let value)? = members[name] else { throw missing(name) }
        return value
    }

    func optionalText(_ name: String) throws -> String? { members[name] == nil ? nil : try text(name) }

    func range(_ offset: String, _ size: String) throws -> Range<UInt64> {
        let start = try integer(offset)
        let (end, overflows) = start.addingReportingOverflow(try integer(size))
        guard !overflows, end <= UInt64(Int64.max) else { throw missing(size) }
        return start..<end
    }

    func identifier(_ org: ResourceName) throws -> BackupIdentifier {
        BackupIdentifier(
            backend: try ResourceName(text("backend")), org: org, vm: try ResourceName(text("vm")),
            date: try BackupDate(text("date")), disk: try ResourceName(text("disk")))
    }

    private func missing(_ name: String) -> EngineError {
        EngineError(.damaged, "a line of the copy has no \"\(name)\", or one that cannot be")
    }
}

/// Two lower-case digits for each byte.
enum Hexadecimal {
    static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    static func bytes(_ text: String) throws(EngineError) -> [UInt8] {
        let digits = Array(text.utf8)
        var bytes: [UInt8] = []
        guard digits.count.isMultiple(of: 2) else { throw error }
        bytes.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            bytes.append(try value(digits[index]) << 4 | value(digits[index + 1]))
        }
        return bytes
    }

    private static func value(_ digit: UInt8) throws(EngineError) -> UInt8 {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: throw error
        }
    }

    private static var error: EngineError { EngineError(.damaged, "a text is not hexadecimal") }
}
