/// How a source that goes on being written to is held still for a backup.
package enum MomentMethod: String, Sendable, CaseIterable {
    /// The best that the source's file system or volume manager has; none where it has none.
    case auto
    /// The source is read as it is.
    case none
    /// A clone of the file that shares its blocks (FICLONE, ioctl_ficlonerange(2)): XFS, btrfs and others.
    case reflink
    /// A read-only snapshot of the btrfs subvolume that the file is in.
    case btrfs
    /// A snapshot of the LVM volume.
    case lvm
    /// A snapshot of the ZFS dataset or volume, and a clone to read it from.
    case zfs
}

/// A source, held still: what to read in its place, until it is released.
package struct Moment: Sendable {
    /// To be read in place of the source: a file or a block device.
    package let path: String
    /// For the manifest: the method's name.
    package let consistency: String
    /// When the moment was, seconds since 1970; nil: it is none, the source itself is read.
    package let takenAt: Int64?
    /// Removes what was made. Once.
    package let release: @Sendable () -> Void

    init(path: String, _ method: MomentMethod, takenAt: Int64?, release: @escaping @Sendable () -> Void = {}) {
        self.path = path
        consistency = method.rawValue
        self.takenAt = takenAt
        self.release = release
    }
}
