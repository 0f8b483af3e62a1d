package import BackupEngine
internal import BackupNames

/// What a file operation answers with when it cannot be done. `FuseBridge` maps each code to one errno.
package struct FileSystemError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable, CaseIterable {
        /// ENOENT
        case notFound
        /// ENOTDIR
        case notADirectory
        /// EISDIR
        case isADirectory
        /// EEXIST
        case exists
        /// ENOTEMPTY
        case notEmpty
        /// EROFS: everything but staging
        case readOnly
        /// EPERM: an operation that staging does not know
        case notPermitted
        /// EACCES
        case accessDenied
        /// EINVAL
        case invalid
        /// ENAMETOOLONG
        case nameTooLong
        /// ENOKEY: the org has no key on this host
        case noKey
        /// EKEYREJECTED: the key does not open the backup
        case keyRejected
        /// EIO
        case inputOutput
        /// EBADMSG: damaged, swapped or not authentic
        case notAuthentic
        /// ENOSPC
        case noSpace
        /// EBUSY
        case busy
        /// ENXIO: no data (or no hole) behind that offset
        case noSuchOffset
        /// ENODATA: no such extended attribute
        case noAttribute
        /// ERANGE: the buffer for an attribute is too small
        case bufferTooSmall
        /// EOPNOTSUPP
        case notSupported
        /// ETIMEDOUT
        case timedOut
        /// ENOMEM
        case noMemory
        /// EXDEV
        case crossDevice
        /// EBADF
        case badHandle
        /// EFBIG
        case tooLarge
        /// EINTR: the reader was interrupted while its read waited
        case interrupted
    }

    package let code: Code
    package let detail: String

    package init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    package var description: String { detail }

    /// Takes over what stopped a read.
    init(reading error: any Error, _ identifier: BackupIdentifier) {
        if let error = error as? FileSystemError {
            self = error
        } else {
            let error = EngineError(error, subject: "\(identifier)")
            // The name is there, for the catalog knows the backup; its archive is not.
            self = error.code == .notFound ? FileSystemError(.inputOutput, error.detail) : FileSystemError(error)
        }
    }

    package init(_ error: EngineError) {
        let code: Code =
            switch error.code {
            case .invalidName: .invalid
            case .notFound: .notFound
            case .alreadyExists: .exists
            case .noKey: .noKey
            case .wrongKey, .badKeyFile, .keyInUse: .keyRejected
            case .notAuthentic, .swapped, .damaged, .truncated: .notAuthentic
            case .sidecarMissing, .catalog, .source, .emptyImage, .incompleteImage, .target, .targetInUse,
                .targetTooSmall, .cancelled:
                .inputOutput
            case .backendUnavailable: .inputOutput
            case .backendTimedOut: .timedOut
            case .backendDenied, .held: .accessDenied
            case .backendFull, .noRoom: .noSpace
            case .busy: .busy
            }
        self.init(code, error.detail)
    }
}
