internal import CFuse
internal import Filesystem
internal import Glibc

/// How files look that have no owner or mode of their own.
package struct MountAppearance: Sendable, Hashable {
    package var userID: UInt32
    package var groupID: UInt32
    /// Permission bits taken away.
    package var umask: UInt32

    package init(userID: UInt32, groupID: UInt32, umask: UInt32) {
        self.userID = userID
        self.groupID = groupID
        self.umask = umask
    }
}

/// What the callbacks reach through libfuse's user data: the file system, and how it is to look.
final class FuseContext: Sendable {
    let filesystem: BackupFilesystem
    let pending = PendingReplies()
    let stagedCalls = StagedCalls()
    private let appearance: MountAppearance

    /// The largest read and write: 256 pages, the kernel's own default limit.
    static let transferByteCount = 1 << 20

    init(filesystem: BackupFilesystem, appearance: MountAppearance) {
        self.filesystem = filesystem
        self.appearance = appearance
    }

    func status(_ attributes: Attributes) -> stat {
        var status = stat()
        status.st_ino = ino_t(attributes.number)
        let umask = appearance.umask & ~attributes.keptPermissions
        status.st_mode = attributes.kind.fileTypeBits | mode_t(attributes.permissions & ~umask)
        status.st_nlink = nlink_t(attributes.linkCount)
        status.st_uid = attributes.userID ?? appearance.userID
        status.st_gid = attributes.groupID ?? appearance.groupID
        status.st_size = off_t(clamping: attributes.byteCount)
        // What `cp` and `cat` take as the size of their buffers.
        status.st_blksize = blksize_t(Self.transferByteCount)
        status.st_blocks = blkcnt_t(clamping: (attributes.dataByteCount + 511) / 512)
        let time = timespec(tv_sec: Int(attributes.modified), tv_nsec: 0)
        status.st_mtim = time
        status.st_ctim = time
        status.st_atim = time
        return status
    }

    func entry(_ attributes: Attributes) -> fuse_entry_param {
        var entry = fuse_entry_param()
        entry.ino = attributes.number
        entry.attr = status(attributes)
        entry.attr_timeout = attributes.validSeconds
        entry.entry_timeout = min(1, attributes.validSeconds)
        return entry
    }
}
