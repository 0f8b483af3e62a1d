import Glibc

/// Claims on a file that another program heeds, or that the kernel makes it heed.
extension OwnedFile {
    // F_SETLEASE, F_GETLEASE, F_SETSIG and F_OFD_SETLK stand behind _GNU_SOURCE (linux/fcntl.h, asm-generic/fcntl.h).
    private static let setLease: Int32 = 1024
    private static let getLease: Int32 = 1025
    private static let setSignal: Int32 = 10
    private static let setOpenFileLock: Int32 = 37

    /// Takes the write lease of a file: granted only while nobody else has it open, in any way: by a descriptor, mapped, or in the
    /// kernel as a loop device has it. False where somebody has.
    ///
    /// Whoever opens the file from now on waits, until the lease is given up or /proc/sys/fs/lease-break-time is over; `holdsLease` is
    /// false from then on. `.invalidArgument` where the file system has no leases. The corresponding C function is `fcntl` with
    /// `F_SETLEASE`.
    package func tryLease() throws(Errno) -> Bool {
        let number = descriptor
        // Its break is told by a signal; SIGURG is one that nobody hears unless he asks for it, SIGIO would end the process.
        try Errno.check { fcntl(number, Self.setSignal, SIGURG) }
        do {
            try Errno.check { fcntl(number, Self.setLease, Int32(F_WRLCK)) }
            return true
        } catch {
            if error == .wouldBlock || error == .busy { return false }
            throw error
        }
    }

    /// Whether the lease stands, and nobody waits for its end.
    package var holdsLease: Bool { fcntl(descriptor, Self.getLease) == Int32(F_WRLCK) }

    /// Gives the lease up: whoever waits to open the file goes on.
    package func endLease() { _ = fcntl(descriptor, Self.setLease, Int32(F_UNLCK)) }

    /// Takes the exclusive lock of a range of bytes for this open file, without waiting; it ends when the file is closed.
    ///
    /// Returns false if another open file has a lock there. The corresponding C function is `fcntl` with `F_OFD_SETLK`.
    package func tryLock(_ range: Range<UInt64>) throws(Errno) -> Bool {
        var lock = Glibc.flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_start = off_t(range.lowerBound)
        lock.l_len = off_t(range.count)
        do {
            let number = descriptor
            try Errno.check { withUnsafeMutablePointer(to: &lock) { fcntl(number, Self.setOpenFileLock, $0) } }
            return true
        } catch {
            if error == .wouldBlock || error == .accessDenied { return false }
            throw error
        }
    }
}
