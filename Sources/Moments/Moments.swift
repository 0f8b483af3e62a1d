package import BackupEngine
internal import Glibc
package import Logging
internal import SystemIO

/// Makes momentary snapshots of files and volumes, and removes them: after use, and after a crash.
package struct Moments: Sendable {
    /// Why a method cannot be used; others may.
    struct Unsuitable: Error, CustomStringConvertible {
        let description: String
    }

    /// How the notice begins that says that the source is read as it is.
    package static let noMoment = "no momentary snapshot"

    private let journal: MomentJournal
    private let clock: any WallClock
    let log: Logger

    package init(stateDirectory: String, clock: any WallClock = SystemClock(), log: Logger) {
        journal = MomentJournal(path: stateDirectory + "/moments")
        self.clock = clock
        self.log = log
    }

    /// Takes a moment of what `path` names: a regular file or a block device.
    ///
    /// Where none can be had the source itself is what is read, `consistency` is "none", and `notice` gets the reason; with `isRequired`
    /// that is an error instead.
    ///
    /// - Parameter keepsFolder: the clone of a file is to stand beside it under a name, for what it refers to by relative names.
    package func take(
        of path: String, _ method: MomentMethod, isRequired: Bool = false, keepsFolder: Bool = false,
        notice: (String) -> Void = { _ in }
    ) throws(EngineError) -> Moment {
        cleanUpAfterCrash()
        guard let resolved = realpath(path, nil) else {
            throw EngineError(.source, "\"\(path)\" cannot be read: \(Errno.current)", cause: Errno.current)
        }
        defer { free(resolved) }
        let source = Source(given: path, path: String(cString: resolved))
        var reasons: [String] = []
        for candidate in try methods(method, source) {
            do {
                return try take(source, candidate, keepsFolder)
            } catch let error as Unsuitable {
                reasons.append("\(candidate.rawValue): \(error)")
            } catch {
                throw EngineError(error, subject: "a momentary snapshot of \"\(path)\"")
            }
        }
        if method != .none {
            let why = reasons.isEmpty ? "nothing here can make one" : reasons.joined(separator: "; ")
            let detail = "\(Self.noMoment) of \"\(path)\" can be made (\(why))"
            guard !isRequired else {
                throw EngineError(
                    .source, detail + ", and a consistent point is required",
                    hint:
                        "put the image on XFS, btrfs, LVM or ZFS, back the guest up by its QMP socket, or set require_consistency = false"
                )
            }
            notice(detail + ": it is read as it is")
        }
        return Moment(path: path, .none, takenAt: nil)
    }

    /// Removes what processes that are no more have left.
    package func cleanUpAfterCrash() {
        for (name, note) in journal.notes() {
            let owner = ProcessIdentity(
                process: note.process, startTicks: note.startTicks, bootIdentifier: note.boot)
            if note.process == 0 || !owner.isAlive { undo(note.trace, name) }
        }
    }

    // MARK: Methods

    struct Source {
        let given: String
        /// Absolute, without links.
        let path: String

        var folder: String { Folder.parentPath(of: path) }
        var name: String { String(path.split(separator: "/").last ?? "") }
    }

    private func methods(_ method: MomentMethod, _ source: Source) throws(EngineError) -> [MomentMethod] {
        switch method {
        case .none: return []
        case .reflink, .btrfs, .lvm, .zfs: return [method]
        case .auto: break
        }
        let kind: FileFacts.Kind
        do throws(Errno) {
            kind = try FileFacts.of(source.path).kind
        } catch {
            throw EngineError(.source, "\"\(source.given)\" cannot be read: \(error)", cause: error)
        }
        switch kind {
        case .blockDevice: return VolumeCommands.zfsVolume(ofDevice: source.given) != nil ? [.zfs] : [.lvm]
        case .regular:
            switch mount(of: source)?.fileSystem {
            case "zfs": return [.zfs]
            case "btrfs": return [.reflink, .btrfs]
            default: return [.reflink]
            }
        case .directory, .symbolicLink, .characterDevice, .pipe, .socket, .other: return []
        }
    }

    private func take(_ source: Source, _ method: MomentMethod, _ keepsFolder: Bool) throws -> Moment {
        switch method {
        case .reflink: try reflink(source, keepsFolder)
        case .btrfs: try btrfs(source)
        case .lvm: try lvm(source)
        case .zfs: try zfs(source)
        case .auto, .none: preconditionFailure("internal error: no method to take a moment by")
        }
    }

    private func reflink(_ source: Source, _ keepsFolder: Bool) throws -> Moment {
        let file = try OwnedFile(opening: source.path, for: .read)
        guard try file.facts().kind == .regular else { throw Unsuitable(description: "it is no regular file") }
        let now = clock.secondsSince1970
        if keepsFolder {
            let name = MomentTrace.newName()
            // The name ends as the source's does, for the format is told by it.
            let path = "\(source.folder)/.\(name).\(source.name)"
            return try make(.clone(path: path), name, reads: path, .reflink, at: now) {
                do throws(Errno) {
                    try FileClone.named(path, of: file)
                } catch {
                    throw cannotClone(error)
                }
            }
        }
        do throws(Errno) {
            let clone = HeldClone(try FileClone.unnamed(of: file, in: source.folder))
            return Moment(path: "/proc/self/fd/\(clone.file.descriptor)", .reflink, takenAt: now) {
                // It is gone with its last descriptor.
                _ = clone
            }
        } catch {
            throw cannotClone(error)
        }
    }

    private func cannotClone(_ error: Errno) -> any Error {
        switch error {
        case .notSupported, .invalidArgument, .crossDevice, .notTerminal:
            Unsuitable(description: "its file system cannot clone files")
        default: Unsuitable(description: "it cannot be cloned: \(error)")
        }
    }

    private func btrfs(_ source: Source) throws -> Moment {
        guard mount(of: source)?.fileSystem == "btrfs" else { throw Unsuitable(description: "it is not on btrfs") }
        guard let root = Self.subvolumeRoot(of: source.path) else {
            throw Unsuitable(description: "its subvolume is not found")
        }
        let name = MomentTrace.newName()
        let snapshot = (root == "/" ? "" : root) + "/." + name
        let inside = source.path.dropFirst(root == "/" ? 0 : root.utf8.count)
        let now = clock.secondsSince1970
        return try make(.btrfs(path: snapshot), name, reads: snapshot + inside, .btrfs, at: now) {
            try perform(VolumeCommands.btrfsSnapshot(of: root, as: snapshot))
        }
    }

    /// The root of a btrfs subvolume has the inode number 256.
    static func subvolumeRoot(of path: String) -> String? {
        var folder = Folder.parentPath(of: path)
        while true {
            if (try? FileFacts.of(folder))?.inode == 256 { return folder }
            if folder == "/" { return nil }
            folder = Folder.parentPath(of: folder)
        }
    }

    private func lvm(_ source: Source) throws -> Moment {
        guard try FileFacts.of(source.path).kind == .blockDevice else {
            throw Unsuitable(description: "it is no block device")
        }
        let answer = try perform(VolumeCommands.lvmQuery(source.given))
        guard let volume = VolumeCommands.parseLogicalVolume(answer) else {
            throw Unsuitable(description: "it is no volume of LVM")
        }
        let name = MomentTrace.newName()
        let now = clock.secondsSince1970
        let path = VolumeCommands.lvmPath(of: volume, snapshot: name)
        return try make(.lvm(volume: "\(volume.group)/\(name)"), name, reads: path, .lvm, at: now) {
            try perform(VolumeCommands.lvmSnapshot(of: volume, as: name))
        }
    }

    private func zfs(_ source: Source) throws -> Moment {
        let name = MomentTrace.newName()
        let dataset: String
        let mountpoint: String?
        let path: (_ clone: String) -> String
        if let volume = VolumeCommands.zfsVolume(ofDevice: source.given) {
            dataset = volume
            mountpoint = nil
            path = { "/dev/zvol/" + $0 }
        } else {
            guard let mount = mount(of: source), mount.fileSystem == "zfs" else {
                throw Unsuitable(description: "it is not on ZFS")
            }
            dataset = mount.source
            let folder = journal.path + "/" + name
            mountpoint = folder
            let inside = source.path.dropFirst(mount.mountpoint == "/" ? 0 : mount.mountpoint.utf8.count)
            path = { _ in folder + inside }
        }
        let snapshot = "\(dataset)@\(name)"
        let clone = VolumeCommands.zfsCloneName(of: dataset, name)
        let trace = MomentTrace.zfs(snapshot: snapshot, clone: clone, mountpoint: mountpoint)
        let now = clock.secondsSince1970
        return try make(trace, name, reads: path(clone), .zfs, at: now) {
            try perform(VolumeCommands.zfsSnapshot(snapshot))
            try perform(VolumeCommands.zfsClone(of: snapshot, as: clone, on: mountpoint))
        }
    }

    // MARK: Making and removing

    /// Notes, makes, and waits until what is to be read is there. Whatever fails leaves nothing, or a note.
    private func make(
        _ trace: MomentTrace, _ name: String, reads path: String, _ method: MomentMethod, at time: Int64,
        _ body: () throws -> Void
    ) throws -> Moment {
        let owner = ProcessIdentity.current
        try journal.write(
            MomentJournal.Note(
                trace: trace, process: owner.process, startTicks: owner.startTicks, boot: owner.bootIdentifier), name)
        do {
            try body()
            // udev makes the links of devices, and takes its time.
            for _ in 0..<200 where access(path, R_OK) != 0 { usleep(50_000) }
            guard access(path, R_OK) == 0 else {
                throw Unsuitable(description: "\"\(path)\" was made and does not appear: \(Errno.current)")
            }
        } catch {
            undo(trace, name)
            throw error
        }
        return Moment(path: path, method, takenAt: time) { undo(trace, name) }
    }

    /// What cannot be removed now stays noted, as nobody's.
    private func undo(_ trace: MomentTrace, _ name: String) {
        do {
            try remove(trace)
            try journal.remove(name)
        } catch {
            log.error("a momentary snapshot is left, and will be removed later: \(name): \(error)")
            try? journal.write(MomentJournal.Note(trace: trace, process: 0, startTicks: 0, boot: ""), name)
        }
    }

    private func remove(_ trace: MomentTrace) throws {
        guard trace.isOurs else { preconditionFailure("internal error: what is not ours is to be removed") }
        switch trace {
        case .clone(let path):
            do throws(Errno) {
                try FileTree.remove(path)
            } catch  where error == .noEntry {}
        case .btrfs(let path):
            if access(path, F_OK) == 0 { try perform(VolumeCommands.btrfsDelete(path)) }
        case .lvm(let volume):
            if exists(VolumeCommands.lvmExists(volume)) { try perform(VolumeCommands.lvmRemove(volume)) }
        case .zfs(let snapshot, let clone, let mountpoint):
            if exists(VolumeCommands.zfsExists(clone)) { try perform(VolumeCommands.zfsDestroy(clone)) }
            if exists(VolumeCommands.zfsExists(snapshot)) { try perform(VolumeCommands.zfsDestroy(snapshot)) }
            if let mountpoint { rmdir(mountpoint) }
        }
    }

    // MARK: Programs

    private static let commandSeconds = 60

    /// Runs a command to its end, and gives what it printed.
    @discardableResult
    private func perform(_ command: VolumeCommands.Command) throws -> String {
        guard let program = ChildProcess.find(command[0]) else {
            throw Unsuitable(description: "\(command[0]) is not installed")
        }
        let child = ChildProcess(
            path: program, arguments: Array(command.dropFirst()), folder: "/", patience: .seconds(Self.commandSeconds),
            limit: .seconds(Self.commandSeconds))
        var output: [UInt8] = []
        let ending: ChildProcess.Ending
        do {
            ending = try child.run(
                output: { bytes in
                    output += bytes
                    return output.count < 1 << 20
                }, progress: { ChildProcess.processorTicks(of: $0) })
        } catch {
            throw Unsuitable(description: "\(error)")
        }
        guard ending == .exited(code: 0) else {
            var tail = OutputTail()
            output.withUnsafeBytes { tail.append($0) }
            throw Unsuitable(
                description: "\(command.prefix(3).joined(separator: " ")): \(ending): \(tail.lastLines(2))")
        }
        return String(decoding: output, as: UTF8.self)
    }

    private func exists(_ question: VolumeCommands.Command) -> Bool { (try? perform(question)) != nil }

    private func mount(of source: Source) -> MountEntry? { MountEntry.holding(source.path) }
}

/// The descriptor of a clone without a name, for as long as this lives.
private final class HeldClone: Sendable {
    let file: OwnedFile

    init(_ file: consuming OwnedFile) { self.file = file }
}
