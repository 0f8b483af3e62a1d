package import BackupEngine
package import BackupNames
internal import Filesystem
internal import FuseBridge
internal import Glibc
internal import SystemIO

/// A read-only mount of this process's own, for as long as it looks into a backup: in a folder that only its user can enter, and
/// gone with the process, however that ends.
package final class PrivateMount {
    private static let prefix = "drill-"

    /// The folder that holds the mountpoint.
    private let folder: String
    private let mountpoint: String
    private let filesystem: BackupFilesystem
    private let session: FuseSession

    /// Mounts below `runFolder`, after removing what a process that is gone left there.
    package init(_ engine: Engine, in runFolder: String) throws {
        try makeDirectories(runFolder, mode: 0o700)
        Self.cleanUp(runFolder)
        let identity = ProcessIdentity.current
        folder = "\(runFolder)/\(Self.prefix)\(identity.process)-\(identity.startTicks)"
        mountpoint = folder + "/mnt"
        try Folder.make(folder, mode: 0o700)
        do {
            try Folder.make(mountpoint, mode: 0o700)
            filesystem = BackupFilesystem(engine: engine)
            // Whom we let in as another user still has to come through our folder. auto_unmount(fusermount3) outlives us.
            let options = ["ro", "nosuid", "nodev", "noexec", "auto_unmount"] + (geteuid() == 0 ? ["allow_other"] : [])
            session = try FuseSession(
                filesystem, at: mountpoint,
                appearance: MountAppearance(userID: geteuid(), groupID: getegid(), umask: 0), options: options)
        } catch {
            Self.remove(folder)
            throw error
        }
        session.start()
    }

    deinit {
        session.stop()
        filesystem.close()
        session.finish()
        Self.remove(folder)
    }

    /// The folder of a backup's files.
    package func path(of identifier: BackupIdentifier) -> String {
        "\(mountpoint)/\(identifier.backend)/\(identifier.org)/\(identifier.vm)/\(identifier.date)"
    }

    /// Differs when something was read.
    package var readCount: @Sendable () -> UInt64 {
        let filesystem = filesystem
        return { filesystem.readCount }
    }

    /// Folders of ours whose process is gone; only what is empty is removed.
    private static func cleanUp(_ runFolder: String) {
        guard let entries = try? Folder.entries(of: runFolder) else { return }
        for name in entries.compactMap(\.name) where name.hasPrefix(prefix) {
            let numbers = name.dropFirst(prefix.count).split(separator: "-")
            guard numbers.count == 2, let process = Int32(numbers[0]), let ticks = UInt64(numbers[1]) else { continue }
            let owner = ProcessIdentity(
                process: process, startTicks: ticks, bootIdentifier: ProcessIdentity.current.bootIdentifier)
            if !owner.isAlive { remove(runFolder + "/" + name) }
        }
    }

    private static func remove(_ folder: String) {
        let mountpoint = folder + "/mnt"
        // A mount whose process died while fusermount3 was not there to see it.
        if (try? FileFacts.of(mountpoint)) == nil { umount2(mountpoint, Int32(MNT_DETACH)) }
        try? Folder.remove(mountpoint)
        try? Folder.remove(folder)
    }
}
