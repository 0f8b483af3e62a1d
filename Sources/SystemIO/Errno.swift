import Glibc

/// An error number of the operating system, as a system call left it.
///
/// Compare with the named members; `description` is the system's own text with the number's name where it has one.
package struct Errno: Error, Hashable, CustomStringConvertible {
    /// The value of `errno`; the constants are those of errno(3).
    package let code: Int32

    package init(_ code: Int32) {
        self.code = code
    }

    /// The error of the last failed call of this thread.
    package static var current: Errno { Errno(errno) }

    package var description: String {
        // strerror(3) of glibc is thread-safe since 2.32 (thread-local storage for unknown numbers).
        String(cString: strerror(code))
    }
}

extension Errno {
    package static let notPermitted = Errno(EPERM)
    package static let noEntry = Errno(ENOENT)
    package static let interrupted = Errno(EINTR)
    package static let inputOutput = Errno(EIO)
    package static let noSuchDeviceOrAddress = Errno(ENXIO)
    package static let badDescriptor = Errno(EBADF)
    package static let accessDenied = Errno(EACCES)
    package static let busy = Errno(EBUSY)
    package static let exists = Errno(EEXIST)
    package static let crossDevice = Errno(EXDEV)
    package static let noDevice = Errno(ENODEV)
    package static let notDirectory = Errno(ENOTDIR)
    package static let isDirectory = Errno(EISDIR)
    package static let invalidArgument = Errno(EINVAL)
    package static let tooManyOpenFiles = Errno(EMFILE)
    package static let notTerminal = Errno(ENOTTY)
    package static let fileTooLarge = Errno(EFBIG)
    package static let noSpace = Errno(ENOSPC)
    package static let illegalSeek = Errno(ESPIPE)
    package static let readOnlyFileSystem = Errno(EROFS)
    package static let tooManyLinks = Errno(EMLINK)
    package static let brokenPipe = Errno(EPIPE)
    package static let outOfRange = Errno(ERANGE)
    package static let nameTooLong = Errno(ENAMETOOLONG)
    package static let notImplemented = Errno(ENOSYS)
    package static let notEmpty = Errno(ENOTEMPTY)
    package static let tooManySymbolicLinks = Errno(ELOOP)
    package static let noData = Errno(ENODATA)
    package static let notSupported = Errno(EOPNOTSUPP)
    package static let notConnected = Errno(ENOTCONN)
    package static let timedOut = Errno(ETIMEDOUT)
    package static let stale = Errno(ESTALE)
    package static let quotaExceeded = Errno(EDQUOT)
    package static let wouldBlock = Errno(EWOULDBLOCK)

    /// Throws the current error when `result` is negative, as system calls return it.
    ///
    /// Repeats the call while it is interrupted by a signal (`EINTR`).
    @discardableResult
    package static func check<Value: BinaryInteger>(_ call: () -> Value) throws(Errno) -> Value {
        while true {
            let result = call()
            if result >= 0 { return result }
            let error = Errno.current
            if error != .interrupted { throw error }
        }
    }
}
