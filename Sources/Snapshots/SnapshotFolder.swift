internal import BackupEngine
internal import BackupNames
internal import Glibc
internal import SystemIO

/// The folder of a disk's snapshots in its pool, `<pool>/.holdfast-snapshots/<org>/<vm>/<disk>/`, held open, with its lock: whoever has
/// it is the only one who makes, removes or uses a snapshot of the disk. It ends with its process, so that what a dead one
/// left is nobody's.
///
/// | name | what it is |
/// |---|---|
/// | `<date>.raw`, `<date>.json` | a snapshot, and its facts |
/// | `copy` | a copy under way |
/// | `<date>.doomed` | a snapshot that is being removed |
/// | `rollback.json` | a rollback under way (`RollbackNote`) |
/// | `lock` | the lock; it stays |
/// | `.….tmp` | a small file that is being written |
final class SnapshotFolder: Sendable {
    static let imageEnding = ".raw"
    static let factsEnding = ".json"
    static let doomedEnding = ".doomed"
    static let temporaryEnding = ".tmp"
    static let copyName = "copy"
    static let rollbackName = "rollback.json"
    static let lockName = "lock"

    let pool: SnapshotPool
    let disk: DiskName
    private let held: HeldFolder
    private let lock: OwnedFile

    /// Valid as long as the object lives.
    var path: String {
        do throws(Errno) {
            return try held.here { $0 }
        } catch {
            preconditionFailure("internal error: a held folder has no path")
        }
    }

    /// Opens the folder, and takes the lock; `.busy` where somebody else has it. With `makes` what is missing is made; else that is
    /// `.notFound`.
    init(_ pool: SnapshotPool, _ disk: DiskName, makes: Bool) throws(EngineError) {
        self.pool = pool
        self.disk = disk
        let names = ["\(disk.org)", "\(disk.vm)", "\(disk.disk)"]
        do throws(Errno) {
            if makes { try Self.make(names, in: pool) }
            let root = try Self.root(of: pool)
            held = try root.here { path throws(Errno) in try HeldFolder(names, beneath: path) }
            lock = try held.at(Self.lockName) { path throws(Errno) in
                try OwnedFile(opening: path, for: .readWrite, options: [.create, .noFollow], mode: 0o600)
            }
        } catch {
            throw Self.failure(error, pool, disk)
        }
        let isOurs: Bool
        do throws(Errno) {
            isOurs = try lock.tryLock()
        } catch {
            throw EngineError(.source, "the snapshots of \(disk) cannot be locked: \(error)", cause: error)
        }
        guard isOurs else {
            throw EngineError(
                .busy, "another process works on the snapshots of \(disk) in the pool \"\(pool.name)\"")
        }
    }

    private static func make(_ names: [String], in pool: SnapshotPool) throws(Errno) {
        var path = pool.path + "/" + SnapshotPool.folderName
        if try Folder.make(path, mode: 0o700) {
            try FileTree.setPermissions(path, 0o700)
            try syncDirectory(pool.path)
        }
        for name in names {
            let parent = path
            path += "/" + name
            if try Folder.make(path, mode: 0o700) { try syncDirectory(parent) }
        }
    }

    /// The folder of all snapshots of a pool; `.notPermitted` unless it is this user's alone, for whoever could write there could put
    /// anything in a snapshot's place.
    static func root(of pool: SnapshotPool) throws(Errno) -> HeldFolder {
        let root = try HeldFolder([SnapshotPool.folderName], beneath: pool.path)
        let facts = try root.here { path throws(Errno) in try FileFacts.of(path) }
        guard facts.owner == geteuid(), facts.permissions & 0o077 == 0 else { throw Errno.notPermitted }
        return root
    }

    static func failure(_ error: Errno, _ pool: SnapshotPool, _ disk: DiskName) -> EngineError {
        let folder = "\"\(pool.path)/\(SnapshotPool.folderName)\""
        switch error {
        case .noEntry: return EngineError(.notFound, "the pool \"\(pool.name)\" has no snapshots of \(disk)")
        case .notPermitted, .tooManySymbolicLinks, .notDirectory:
            return EngineError(
                .source, "\(folder) is not a folder of this user alone, and is not used",
                hint: "it must be a real folder with mode 0700, of whoever runs holdfast")
        default:
            return EngineError(
                error == .noSpace ? .noRoom : .source, "\(folder) cannot be used: \(error)", cause: error)
        }
    }

    /// The path of a name in the folder, valid as long as the object lives.
    func path(_ name: String) -> String { path + "/" + name }
    func imagePath(_ date: BackupDate) -> String { path("\(date)\(Self.imageEnding)") }
    func factsPath(_ date: BackupDate) -> String { path("\(date)\(Self.factsEnding)") }
    func doomedPath(_ date: BackupDate) -> String { path("\(date)\(Self.doomedEnding)") }

    func identifier(_ date: BackupDate) -> SnapshotIdentifier {
        SnapshotIdentifier(pool: pool.name, disk: disk, date: date)
    }

    /// The dates that a name with this ending has.
    func dates(_ ending: String) throws(Errno) -> [BackupDate] {
        try Folder.entries(of: path).compactMap { entry in
            guard let name = entry.name, name.hasSuffix(ending) else { return nil }
            return try? BackupDate(String(name.dropLast(ending.count)))
        }.sorted()
    }

    /// Removes a name; absent is success.
    func remove(_ path: String) throws(Errno) {
        do throws(Errno) {
            try FileTree.remove(path)
        } catch  where error == .noEntry {}
    }

    /// Takes a snapshot's name from its file, for good; a file that is gone has none.
    func doom(_ date: BackupDate) throws(Errno) {
        do throws(Errno) {
            try FileTree.rename(imagePath(date), to: doomedPath(date))
        } catch {
            if error != .noEntry { throw error }
        }
        try synchronize()
    }

    func synchronize() throws(Errno) { try syncDirectory(path) }
}
