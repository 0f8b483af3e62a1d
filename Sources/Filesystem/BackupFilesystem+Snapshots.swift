internal import BackupEngine
package import BackupNames
internal import Catalog
internal import Snapshots
internal import SystemIO

/// What stands below `snapshots/`: in-cluster copies, not backups.
package enum SnapshotNode: Hashable, Sendable {
    case top
    case pool(ResourceName)
    case org(pool: ResourceName, ResourceName)
    case vm(SnapshotPath)
    case date(SnapshotPath, BackupDate)
    case image(SnapshotIdentifier)

    var pool: ResourceName? {
        switch self {
        case .top: nil
        case .pool(let pool), .org(let pool, _): pool
        case .vm(let path), .date(let path, _): path.pool
        case .image(let identifier): identifier.pool
        }
    }

    var org: ResourceName? {
        switch self {
        case .top, .pool: nil
        case .org(_, let org): org
        case .vm(let path), .date(let path, _): path.org
        case .image(let identifier): identifier.org
        }
    }

    var isFolder: Bool {
        if case .image = self { false } else { true }
    }
}

/// A vm with snapshots in a pool.
package struct SnapshotPath: Hashable, Sendable {
    let pool: ResourceName
    let org: ResourceName
    let vm: ResourceName
}

/// `snapshots/<pool>/<org>/<vm>/<date>/<disk>.raw`: names from the catalog, so that new ones appear and removed ones go without a
/// remount; sizes, holes and bytes from the files in the pools.
extension BackupFilesystem {
    static let snapshotFolderName = SnapshotIdentifier.folderInTree
    private static let imageEnding = ".raw"

    /// The folder is there where pools are.
    var showsSnapshots: Bool { snapshots?.pools.isEmpty == false }

    private func store() throws -> Snapshots {
        guard let snapshots else { throw FileSystemError(.notFound, Self.snapshotFolderName) }
        return snapshots
    }

    func snapshotChildren(of node: SnapshotNode) throws -> [(name: String, node: Node)] {
        let store = try store()
        let children: [(String, SnapshotNode)] =
            switch node {
            case .top: store.pools.map { ("\($0.name)", .pool($0.name)) }
            case .pool(let pool): try store.catalog.snapshotOrgs(pool: pool).map { ("\($0)", .org(pool: pool, $0)) }
            case .org(let pool, let org):
                try store.catalog.snapshotVMs(pool: pool, org: org).map {
                    ("\($0)", .vm(SnapshotPath(pool: pool, org: org, vm: $0)))
                }
            case .vm(let path):
                try store.catalog.snapshotDates(pool: path.pool, org: path.org, vm: path.vm).map {
                    ("\($0)", .date(path, $0))
                }
            case .date(let path, let date):
                try records(path, date).map { ("\($0.identifier.disk)\(Self.imageEnding)", .image($0.identifier)) }
            case .image: throw FileSystemError(.notADirectory, "not a folder")
            }
        return children.map { ($0.0, .snapshot($0.1)) }
    }

    func snapshotChild(_ name: String, of node: SnapshotNode) throws -> Node {
        if case .image = node { throw FileSystemError(.notFound, name) }
        guard let child = try snapshotChildren(of: node).first(where: { $0.name.utf8.elementsEqual(name.utf8) }) else {
            throw FileSystemError(.notFound, name)
        }
        return child.node
    }

    private func records(_ path: SnapshotPath, _ date: BackupDate) throws -> [SnapshotRecord] {
        try store().catalog.snapshots(pool: path.pool, org: path.org, vm: path.vm, date: date)
    }

    func snapshotRecord(_ identifier: SnapshotIdentifier) throws -> SnapshotRecord {
        guard let record = try store().catalog.snapshot(identifier) else {
            throw FileSystemError(.notFound, "\(identifier)")
        }
        return record
    }

    func snapshotAttributes(of node: SnapshotNode, started: Int64) throws -> Attributes {
        func folder(_ permissions: UInt32, modified: Int64, isThere: Bool = true) throws -> Attributes {
            guard isThere else { throw FileSystemError(.notFound, "there are no snapshots here any more") }
            return Attributes(.directory, permissions: permissions, modified: modified, validSeconds: 1)
        }
        switch node {
        case .top, .pool: return try folder(0o755, modified: started)
        case .org, .vm: return try folder(0o555, modified: started, isThere: !snapshotChildren(of: node).isEmpty)
        case .date(let path, let date):
            return try folder(0o555, modified: date.secondsSince1970, isThere: !records(path, date).isEmpty)
        case .image(let identifier):
            let record = try snapshotRecord(identifier)
            let facts = try store().facts(of: record)
            return Attributes(
                .regular, permissions: 0o444, byteCount: facts.byteCount, dataByteCount: facts.allocatedByteCount,
                modified: record.createdAt, validSeconds: 1)
        }
    }

    func openSnapshot(_ node: SnapshotNode) throws -> HandleTable.Content {
        guard case .image(let identifier) = node else { throw FileSystemError(.isADirectory, "a folder") }
        return .file(try store().open(snapshotRecord(identifier)))
    }

    func snapshotExtendedAttributes(_ node: SnapshotNode) throws -> [(name: String, value: String)] {
        guard case .image(let identifier) = node else { return [] }
        let record = try snapshotRecord(identifier)
        return [
            ("user.holdfast.kind", SnapshotIdentifier.label),
            ("user.holdfast.id", "\(identifier)"),
            ("user.holdfast.created_at", BackupDate(secondsSince1970: record.createdAt).description),
            ("user.holdfast.consistency", record.consistency),
            ("user.holdfast.raw_size", "\(record.rawByteCount)"),
            ("user.holdfast.raw_sha256", record.hashText),
        ]
    }

    /// The space of a pool; of all pools at their top.
    func snapshotSpace(_ node: SnapshotNode) throws -> SpaceFigures {
        var figures = SpaceFigures(totalByteCount: 0, availableByteCount: 0, fileCount: 0)
        for pool in try store().pools where node.pool == nil || node.pool == pool.name {
            // One that is away has no room for anybody.
            guard let space = try? FileSystemSpace.of(pool.path) else { continue }
            figures.totalByteCount += space.totalByteCount
            figures.availableByteCount += space.availableByteCount
        }
        return figures
    }
}

extension SnapshotFile {
    /// Reads by the thread that asks: the file is here, and the kernel reads ahead.
    func slices(at offset: UInt64, count: Int) throws -> [ReadSlice] {
        guard offset < facts.byteCount else { return [] }
        let count = Int(min(UInt64(count), facts.byteCount - offset))
        do throws(Errno) {
            return [
                try ReadSlice(filling: count) { buffer throws(Errno) in
                    // What was cut off meanwhile is no end of the file.
                    guard try file.read(at: offset, into: buffer) == count else { throw Errno.inputOutput }
                }
            ]
        } catch {
            throw FileSystemError(.inputOutput, "a snapshot cannot be read at \(offset): \(error)")
        }
    }

    func seek(_ target: SeekTarget, from offset: UInt64) throws -> UInt64 {
        guard offset < facts.byteCount else { throw FileSystemError(.noSuchOffset, "behind the end") }
        let found: UInt64?
        do throws(Errno) {
            found =
                switch target {
                case .data: try file.seekData(from: offset)
                case .hole: try file.seekHole(from: offset) ?? facts.byteCount
                }
        } catch {
            throw FileSystemError(.inputOutput, "a snapshot's holes are not known: \(error)")
        }
        guard let found else { throw FileSystemError(.noSuchOffset, "no data behind \(offset)") }
        return found
    }
}
