package import AgeFormat
package import SeekableZstd

/// What went wrong with an archive. Two failures that anybody must tell apart differ by code.
package struct ArchiveError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        /// None of the identities opens the archive: the wrong key.
        case noMatchingKey
        /// The age header is not well-formed, or the file ends inside it.
        case header
        /// The header's MAC does not fit: it was changed.
        case headerAuthentication
        /// The header is not the one that the manifest pins: the archive was swapped or encrypted anew.
        case headerMismatch
        /// A chunk is not authentic, or the file was cut or extended.
        case payload
        /// The seek table is missing, damaged or lies.
        case seekTable
        /// A frame does not decode to what the seek table says.
        case frame
        /// The bytes of the archive could not be had; `cause` says why.
        case source
        /// The bytes of the archive could not be put away; `cause` says why.
        case sink
        /// The operation was given up by its owner.
        case cancelled
    }

    package let code: Code
    package let detail: String
    /// Where in the archive, when known.
    package let archiveOffset: UInt64?
    package let cause: (any Error)?

    package init(_ code: Code, _ detail: String, archiveOffset: UInt64? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.detail = detail
        self.archiveOffset = archiveOffset
        self.cause = cause
    }

    /// Takes over an error of the age format; `archiveOffset` wins over the one the error carries.
    package init(_ error: AgeError, archiveOffset: UInt64? = nil) {
        let code: Code =
            switch error.code {
            case .noMatch: .noMatchingKey
            case .headerAuthentication: .headerAuthentication
            case .header, .recipient, .identity, .outOfMemory: .header
            case .payload: .payload
            }
        self.init(code, error.detail, archiveOffset: archiveOffset ?? error.archiveOffset, cause: error)
    }

    /// Takes over an error of the zstd layer.
    package init(_ error: SeekableZstdError, archiveOffset: UInt64? = nil) {
        let code: Code = error.code == .seekTable ? .seekTable : .frame
        let place = error.frameIndex.map { "frame \($0): " } ?? ""
        self.init(code, place + error.detail, archiveOffset: archiveOffset, cause: error)
    }

    package var description: String {
        let place = archiveOffset.map { " at archive offset \($0)" } ?? ""
        let reason = code == .source || code == .sink ? cause.map { ": \($0)" } ?? "" : ""
        return detail + place + reason
    }
}
