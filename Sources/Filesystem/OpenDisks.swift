internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Logging
internal import Manifest
internal import Synchronization

/// The disks that are open, each once; the last few that were stay open, so that a script's next `dd` finds its frames.
final class OpenDisks: Sendable {
    /// Disks kept open without a handle; a seek table of a 1 TiB disk takes 12 MiB.
    private static let keptLimit = 4

    private struct Key: Hashable {
        let identifier: BackupIdentifier
        let part: OpenDisk.Part
    }

    private struct State {
        var open: [Key: Weak] = [:]
        /// The last one used stands last.
        var kept: [OpenDisk] = []
        var nextSerial: UInt64 = 1
    }

    private struct Weak: Sendable {
        weak var disk: OpenDisk?
    }

    private let engine: Engine
    private let readPath: ReadPath
    private let state = Mutex(State())

    init(engine: Engine, readPath: ReadPath) {
        self.engine = engine
        self.readPath = readPath
    }

    /// Opens a disk, or finds it open. No request is made: everything comes from the catalog. Only the image of a foreign archive
    /// blocks, for as long as its local copy takes to be made, or until the call is given up.
    func disk(
        _ identifier: BackupIdentifier, _ part: OpenDisk.Part = .image, _ call: StagedCall? = nil
    ) throws -> OpenDisk {
        // A backup that was removed must not be opened from memory.
        guard let header = try engine.catalog.archiveHeader(identifier) else {
            throw FileSystemError(.notFound, "\(identifier)")
        }
        let key = Key(identifier: identifier, part: part)
        let dropped: [OpenDisk]
        let found: OpenDisk?
        (found, dropped) = state.withLock { state in
            guard let disk = Self.find(key, header, state) else { return (nil, []) }
            return (disk, Self.keep(disk, &state))
        }
        _ = dropped
        if let found { return found }
        let backup: OpenBackup
        do throws(EngineError) {
            backup = try part == .archive ? engine.open(identifier) : openAtRandom(identifier, call)
        } catch {
            if call?.hasGivenUp == true {
                throw FileSystemError(.interrupted, "\(identifier): the wait for its local copy was interrupted")
            }
            engine.log.error("\(identifier) cannot be opened: \(error)")
            throw FileSystemError(error)
        }
        let (disk, rest): (OpenDisk, [OpenDisk]) = try state.withLock { state in
            // Of many who open it at once one comes first; they must share its frames.
            if let disk = Self.find(key, header, state) { return (disk, Self.keep(disk, &state)) }
            let disk = try OpenDisk(part, of: backup, serial: state.nextSerial, readPath: readPath)
            state.nextSerial += 1
            state.open = state.open.filter { $0.value.disk != nil }
            state.open[key] = Weak(disk: disk)
            return (disk, Self.keep(disk, &state))
        }
        _ = rest
        return disk
    }

    /// Disks that nobody has open any more keep their local copies: they are let go where those leave no room for another.
    private func openAtRandom(_ identifier: BackupIdentifier, _ call: StagedCall?) throws(EngineError) -> OpenBackup {
        let isGivenUp = { call?.hasGivenUp == true }
        do throws(EngineError) {
            return try engine.openAtRandom(identifier, unless: isGivenUp)
        } catch {
            guard error.code == .noRoom else { throw error }
            let dropped = state.withLock { state in
                defer { state.kept = [] }
                return state.kept
            }
            guard !dropped.isEmpty else { throw error }
        }
        return try engine.openAtRandom(identifier, unless: isGivenUp)
    }

    private static func find(_ key: Key, _ header: [UInt8], _ state: State) -> OpenDisk? {
        // Another backup may have been made under the name of one that was withdrawn.
        guard let disk = state.open[key]?.disk, disk.backup.header == header else { return nil }
        return disk
    }

    /// Returns what fell out, to be released outside the lock.
    private static func keep(_ disk: OpenDisk, _ state: inout State) -> [OpenDisk] {
        state.kept.removeAll { $0 === disk }
        state.kept.append(disk)
        guard state.kept.count > keptLimit else { return [] }
        return [state.kept.removeFirst()]
    }
}
