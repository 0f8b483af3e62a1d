import Glibc

/// The room in a file system.
package struct FileSystemSpace: Hashable, Sendable {
    package let totalByteCount: UInt64
    /// Free for this user; less than what is free for root.
    package let availableByteCount: UInt64
    package let isReadOnly: Bool

    /// Asks the file system that holds `path`. The corresponding C function is `statvfs`.
    package static func of(_ path: String) throws(Errno) -> FileSystemSpace {
        var status = statvfs()
        try Errno.check { statvfs(path, &status) }
        let unit = UInt64(status.f_frsize)
        // ST_RDONLY is 1, sys/statvfs.h.
        return FileSystemSpace(
            totalByteCount: UInt64(status.f_blocks).multipliedReportingOverflow(by: unit).partialValue,
            availableByteCount: UInt64(status.f_bavail).multipliedReportingOverflow(by: unit).partialValue,
            isReadOnly: status.f_flag & 1 != 0)
    }
}
