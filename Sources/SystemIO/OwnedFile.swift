import Glibc

/// An open file descriptor with exactly one owner; it is closed when the value ends.
///
/// All calls block, repeat after `EINTR`, and may be made from several threads at once: positional transfers do not
/// touch the file offset. The descriptor is always close-on-exec.
package struct OwnedFile: ~Copyable, Sendable {
    /// What the file is opened for.
    package enum Access: Sendable {
        case read, write, readWrite

        var flag: Int32 {
            switch self {
            case .read: O_RDONLY
            case .write: O_WRONLY
            case .readWrite: O_RDWR
            }
        }
    }

    /// The flags of open(2).
    package struct Options: OptionSet, Sendable {
        package let rawValue: Int32
        package init(rawValue: Int32) { self.rawValue = rawValue }

        package static let create = Options(rawValue: O_CREAT)
        /// The file must not be there yet; on a block device (without `create`): refuse one that is in use (mounted).
        package static let exclusive = Options(rawValue: O_EXCL)
        package static let truncate = Options(rawValue: O_TRUNC)
        package static let append = Options(rawValue: O_APPEND)
        package static let noFollow = Options(rawValue: O_NOFOLLOW)
        package static let directory = Options(rawValue: O_DIRECTORY)
        /// With `directory`: a new file in that folder, without a name. `O_TMPFILE` without `O_DIRECTORY`, which is its other bit and
        /// differs by architecture; it stands behind _GNU_SOURCE (asm-generic/fcntl.h).
        package static let unnamed = Options(rawValue: 0o20000000)
        package static let nonBlocking = Options(rawValue: O_NONBLOCK)
        package static let synchronous = Options(rawValue: O_SYNC)
        /// Past the page cache: buffers, offsets and counts must be aligned to the device's blocks (4 KiB serves all). The
        /// constant stands behind _GNU_SOURCE and differs by architecture (asm/fcntl.h).
        #if arch(arm64)
            package static let direct = Options(rawValue: 0o200000)
        #else
            package static let direct = Options(rawValue: 0o40000)
        #endif
    }

    /// The number, valid as long as the value lives. Never close it.
    package let descriptor: Int32

    /// Takes over a descriptor that nobody else will close.
    package init(adopting descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Opens `path`. `mode` counts only when the file is created, and the process's umask is applied to it.
    package init(
        opening path: String, for access: Access, options: Options = [], mode: UInt32 = 0o600
    ) throws(Errno) {
        let flags = access.flag | options.rawValue | O_CLOEXEC
        descriptor = try Errno.check { open(path, flags, mode) }
    }

    deinit {
        // The error of close is lost here on purpose: who needs it calls `close()` or `synchronize()` first.
        _ = Glibc.close(descriptor)
    }

    /// Closes the file and reports what the system says about it. The descriptor is gone either way: on Linux it is
    /// released even when close(2) fails, so `EINTR` is success here.
    package consuming func close() throws(Errno) {
        let number = descriptor
        discard self
        guard Glibc.close(number) != 0 else { return }
        let error = Errno.current
        if error != .interrupted { throw error }
    }

    /// Gives the descriptor to somebody who will close it.
    package consuming func handOver() -> Int32 {
        let number = descriptor
        discard self
        return number
    }

    /// The corresponding C function is `fstat`.
    package func facts() throws(Errno) -> FileFacts {
        let number = descriptor
        var status = stat()
        try Errno.check { fstat(number, &status) }
        return FileFacts(status)
    }

    /// Makes content and metadata durable. An error means that earlier writes may be lost, even if a second call
    /// succeeds. The corresponding C function is `fsync`.
    package func synchronize() throws(Errno) {
        let number = descriptor
        try Errno.check { fsync(number) }
    }

    /// As ``synchronize()``, without metadata that is not needed to read the content. The corresponding C function is
    /// `fdatasync`.
    package func synchronizeData() throws(Errno) {
        let number = descriptor
        try Errno.check { fdatasync(number) }
    }

    /// Sets the size of a regular file; a longer size is a hole. The corresponding C function is `ftruncate`.
    package func truncate(to byteCount: UInt64) throws(Errno) {
        guard let size = off_t(exactly: byteCount) else { throw .fileTooLarge }
        let number = descriptor
        try Errno.check { ftruncate(number, size) }
    }

    /// Sets the permission bits, without the umask. The corresponding C function is `fchmod`.
    package func setPermissions(_ mode: UInt32) throws(Errno) {
        let number = descriptor
        try Errno.check { fchmod(number, mode) }
    }

    /// Sets owner and group. The corresponding C function is `fchown`.
    package func setOwner(user: UInt32, group: UInt32) throws(Errno) {
        let number = descriptor
        try Errno.check { fchown(number, user, group) }
    }

    /// Takes the advisory lock of the whole open file, without waiting. It ends when the file is closed.
    ///
    /// Returns false if another open file has it. The corresponding C function is `flock`.
    package func tryLock() throws(Errno) -> Bool {
        do {
            let number = descriptor
            try Errno.check { flock(number, LOCK_EX | LOCK_NB) }
            return true
        } catch {
            if error == .wouldBlock { return false }
            throw error
        }
    }

    /// As ``tryLock()``, together with others that take it so.
    package func tryLockShared() throws(Errno) -> Bool {
        do {
            let number = descriptor
            try Errno.check { flock(number, LOCK_SH | LOCK_NB) }
            return true
        } catch {
            if error == .wouldBlock { return false }
            throw error
        }
    }

    /// Says that the file was used now: its times are the system's. The corresponding C function is `futimens`.
    package func touch() throws(Errno) {
        let number = descriptor
        try Errno.check { futimens(number, nil) }
    }

    /// Takes the advisory lock of the whole open file and waits for it.
    package func lock() throws(Errno) {
        let number = descriptor
        try Errno.check { flock(number, LOCK_EX) }
    }
}
