import Glibc

/// What stat(2) says of a file.
package struct FileFacts: Hashable, Sendable {
    /// What kind of thing the path names.
    package enum Kind: Hashable, Sendable {
        case regular, directory, symbolicLink, blockDevice, characterDevice, pipe, socket, other
    }

    package let kind: Kind
    package let device: UInt64
    package let inode: UInt64
    /// Names of the file; 0 for an open file that was removed or replaced.
    package let linkCount: UInt64
    /// Permission bits only (`07777`).
    package let permissions: UInt32
    package let owner: UInt32
    package let group: UInt32
    /// Size in bytes; 0 for block devices, see ``OwnedFile/byteCount()``.
    package let byteCount: UInt64
    /// Space taken, in bytes (`st_blocks` times 512).
    package let allocatedByteCount: UInt64
    /// The device's own number, for device files.
    package let deviceNumber: UInt64
    package let modifiedSeconds: Int64
    /// 0 to 999 999 999.
    package let modifiedNanoseconds: Int64

    init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .symbolicLink
            case S_IFBLK: .blockDevice
            case S_IFCHR: .characterDevice
            case S_IFIFO: .pipe
            case S_IFSOCK: .socket
            default: .other
            }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        linkCount = UInt64(status.st_nlink)
        permissions = status.st_mode & 0o7777
        owner = status.st_uid
        group = status.st_gid
        byteCount = UInt64(max(0, status.st_size))
        allocatedByteCount = UInt64(max(0, status.st_blocks)) * 512
        deviceNumber = UInt64(status.st_rdev)
        modifiedSeconds = Int64(status.st_mtim.tv_sec)
        modifiedNanoseconds = Int64(status.st_mtim.tv_nsec)
    }

    /// The facts of what `path` names, following symbolic links. The corresponding C function is `stat`.
    package static func of(_ path: String) throws(Errno) -> FileFacts {
        var status = stat()
        try Errno.check { stat(path, &status) }
        return FileFacts(status)
    }

    /// The facts of `path` itself, not following a final symbolic link. The corresponding C function is `lstat`.
    package static func ofLink(_ path: String) throws(Errno) -> FileFacts {
        var status = stat()
        try Errno.check { lstat(path, &status) }
        return FileFacts(status)
    }

    /// True if both describe the same file, and nothing says that its content changed between.
    package func isSameContent(as other: FileFacts) -> Bool {
        device == other.device && inode == other.inode && byteCount == other.byteCount
            && modifiedSeconds == other.modifiedSeconds && modifiedNanoseconds == other.modifiedNanoseconds
    }
}
