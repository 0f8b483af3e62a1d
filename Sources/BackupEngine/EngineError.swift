internal import Archive
internal import Catalog
internal import Manifest
internal import OrgKeys
internal import Storage

/// What stopped a backup, a restore, a verification or a reader. The command maps each code to one exit code, the mount to
/// one errno, each in one exhaustive switch.
package struct EngineError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable, CaseIterable {
        /// A name, a date or a backup's designation is not well-formed.
        case invalidName
        /// No such backup, backend or disk.
        case notFound
        /// A backup of that name exists.
        case alreadyExists
        /// The org has no key on this host, or only one that cannot read.
        case noKey
        /// The key does not open the archive.
        case wrongKey
        /// The key file is malformed, or others may read it.
        case badKeyFile
        /// The key cannot go: it is the last that opens a backup.
        case keyInUse
        /// The manifest or sidecar is not authentic: changed, or made by somebody without the org's key.
        case notAuthentic
        /// The archive is not the one the manifest names: swapped, replayed, encrypted anew.
        case swapped
        /// The archive is damaged; the detail names the place.
        case damaged
        /// The archive is shorter or longer than registered.
        case truncated
        /// The sidecar is not there.
        case sidecarMissing
        /// The catalog cannot be used, or a row of it is damaged.
        case catalog
        /// The backend cannot be reached, or its folder is gone.
        case backendUnavailable
        /// The backend made no progress for too long.
        case backendTimedOut
        /// The backend refuses: permissions, read-only.
        case backendDenied
        /// The backend is full.
        case backendFull
        /// The source cannot be read.
        case source
        /// The image has no bytes.
        case emptyImage
        /// The image says of itself that it is longer than what came, or other bytes came than were declared.
        case incompleteImage
        /// The target cannot be written.
        case target
        /// The target is mounted, or holds data, and nobody forced it.
        case targetInUse
        /// The target is smaller than the image.
        case targetTooSmall
        /// This host's own folder has no room for what it would have to keep there.
        case noRoom
        /// It may not be removed now: a hold, the store's lock, or a plan that removes too much.
        case held
        /// Too much runs at once for the memory budget, or another writer has the name.
        case busy
        /// The writer died, removed the file, or the daemon ends.
        case cancelled
    }

    package let code: Code
    package let detail: String
    /// What to do about it, where that is known.
    package let hint: String?
    package let cause: (any Error)?

    package init(_ code: Code, _ detail: String, hint: String? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.detail = detail
        self.hint = hint
        self.cause = cause
    }

    package var description: String { detail }

    /// Takes over an error of a module below; `subject` names what it was about.
    package init(_ error: any Error, subject: String) {
        switch error {
        case let error as EngineError: self = error
        case let error as ArchiveError: self.init(error, subject: subject)
        case let error as StorageError:
            self.init(Self.code(of: error), "\(subject): \(error)", hint: error.hint, cause: error)
        case let error as ManifestError:
            self.init(Self.code(of: error), "\(subject): \(error)", cause: error)
        case let error as KeyError: self.init(Self.code(of: error), "\(subject): \(error)", cause: error)
        case let error as CatalogError:
            self.init(
                error.code == .alreadyExists ? .alreadyExists : .catalog, "\(subject): \(error)",
                hint: error.code == .corrupt ? "holdfast catalog check --repair" : nil, cause: error)
        default: self.init(.source, "\(subject): \(error)", cause: error)
        }
    }

    private init(_ error: ArchiveError, subject: String) {
        if error.code == .source || error.code == .sink, let cause = error.cause as? StorageError {
            self.init(Self.code(of: cause), "\(subject): \(cause)", hint: cause.hint, cause: error)
            return
        }
        let code: Code =
            switch error.code {
            case .noMatchingKey: .wrongKey
            case .headerMismatch: .swapped
            case .header, .headerAuthentication, .payload, .seekTable, .frame: .damaged
            case .source, .sink: .backendUnavailable
            case .cancelled: .cancelled
            }
        self.init(code, "\(subject): \(error)", cause: error)
    }

    private static func code(of error: StorageError) -> Code {
        switch error.code {
        case .absent: .notFound
        case .alreadyExists: .alreadyExists
        case .denied: .backendDenied
        case .noSpace: .backendFull
        case .unavailable, .throttled, .noSuchStore, .clockSkew: .backendUnavailable
        case .timedOut: .backendTimedOut
        case .corrupt: .damaged
        case .changed: .swapped
        case .invalidKey: .invalidName
        case .rangeNotSatisfiable: .truncated
        }
    }

    private static func code(of error: ManifestError) -> Code {
        switch error.code {
        case .malformed, .unsupportedVersion, .notAuthentic: .notAuthentic
        }
    }

    private static func code(of error: KeyError) -> Code {
        switch error.code {
        case .absent, .noSuchIdentity, .writeOnly: .noKey
        case .exists, .insecureMode, .malformed, .inaccessible: .badKeyFile
        }
    }
}
