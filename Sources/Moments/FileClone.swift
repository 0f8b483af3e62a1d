internal import Glibc
internal import SystemIO

/// Clones of files that share their blocks: made in a moment, in which nobody writes to the original (ioctl_ficlonerange(2): the kernel locks
/// it).
enum FileClone {
    /// _IOW(0x94, 9, int) of linux/fs.h
    private static let ficlone: UInt = 0x4004_9409
    /// _IOR('f', 1, long) and _IOW('f', 2, long)
    private static let getFlags: UInt = 0x8008_6601
    private static let setFlags: UInt = 0x4008_6602
    /// FS_NOCOW_FL: btrfs clones between files that agree on it alone.
    private static let noCopyOnWrite: Int = 0x0080_0000

    /// A clone without a name: it is gone with its descriptor, after a crash, too.
    static func unnamed(of source: borrowing OwnedFile, in folder: String) throws(Errno) -> OwnedFile {
        let clone = try OwnedFile.unnamed(in: folder)
        try fill(clone, from: source)
        return clone
    }

    /// A clone with a name, which must be new.
    static func named(_ path: String, of source: borrowing OwnedFile) throws(Errno) {
        let clone = try OwnedFile(
            opening: path, for: .readWrite, options: [.create, .exclusive, .noFollow], mode: 0o600)
        do throws(Errno) {
            try fill(clone, from: source)
        } catch {
            _ = unlink(path)
            throw error
        }
    }

    private static func fill(_ clone: borrowing OwnedFile, from source: borrowing OwnedFile) throws(Errno) {
        var flags = 0
        if ioctl(source.descriptor, getFlags, &flags) == 0, flags & noCopyOnWrite != 0 {
            var own = 0
            _ = ioctl(clone.descriptor, getFlags, &own)
            own |= noCopyOnWrite
            // Where that fails the clone will, and says so.
            _ = ioctl(clone.descriptor, setFlags, &own)
        }
        let descriptor = source.descriptor
        let target = clone.descriptor
        try Errno.check { ioctl(target, ficlone, descriptor) }
    }
}
