internal import SystemIO

extension StorageError {
    /// The meaning for a store of a system call's error.
    ///
    /// Missing names are the caller's to tell apart, for `ENOENT` can mean the object or the whole store; here they
    /// mean the object.
    init(_ error: Errno, _ subject: String, _ action: String) {
        let code: Code =
            switch error {
            case .noEntry, .notDirectory: .absent
            case .exists: .alreadyExists
            case .accessDenied, .notPermitted, .readOnlyFileSystem: .denied
            case .noSpace, .quotaExceeded, .fileTooLarge: .noSpace
            case .nameTooLong, .tooManySymbolicLinks, .isDirectory: .invalidKey
            // Device and network errors, resources of ours, and what is not known: the store cannot be used now.
            default: .unavailable
            }
        self.init(code, subject, "cannot \(action)", cause: error)
    }
}
