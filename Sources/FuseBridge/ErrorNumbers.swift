internal import BackupEngine
internal import Filesystem
internal import Glibc

/// The one place where errors of the file system become errno values. What is none of ours is EIO.
func errorNumberOf(_ error: any Error) -> Int32 {
    if let error = error as? FileSystemError { return errorNumber(of: error.code) }
    if let error = error as? EngineError { return errorNumber(of: FileSystemError(error).code) }
    return EIO
}

private func errorNumber(of code: FileSystemError.Code) -> Int32 {
    switch code {
    case .notFound: ENOENT
    case .notADirectory: ENOTDIR
    case .isADirectory: EISDIR
    case .exists: EEXIST
    case .notEmpty: ENOTEMPTY
    case .readOnly: EROFS
    case .notPermitted: EPERM
    case .accessDenied: EACCES
    case .invalid: EINVAL
    case .nameTooLong: ENAMETOOLONG
    case .noKey: ENOKEY
    case .keyRejected: EKEYREJECTED
    case .inputOutput: EIO
    case .notAuthentic: EBADMSG
    case .noSpace: ENOSPC
    case .busy: EBUSY
    case .noSuchOffset: ENXIO
    case .noAttribute: ENODATA
    case .bufferTooSmall: ERANGE
    case .notSupported: EOPNOTSUPP
    case .timedOut: ETIMEDOUT
    case .noMemory: ENOMEM
    case .crossDevice: EXDEV
    case .badHandle: EBADF
    case .tooLarge: EFBIG
    case .interrupted: EINTR
    }
}
