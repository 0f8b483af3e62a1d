/// What an age file or key is refused for. The codes are the classes of the published test vectors, and three more.
package struct AgeError: Error, Hashable, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        /// None of the identities opens the file.
        case noMatch
        /// The header's MAC is wrong.
        case headerAuthentication
        /// The header is not well-formed, or ends early.
        case header
        /// The payload is damaged, cut or extended.
        case payload
        /// A recipient is not well-formed.
        case recipient
        /// An identity, or a file of them, is not well-formed.
        case identity
        /// There is no room for what a passphrase's work factor takes.
        case outOfMemory
    }

    package let code: Code
    package let detail: String
    /// Where in the file, when known.
    package let archiveOffset: UInt64?

    package init(_ code: Code, _ detail: String, archiveOffset: UInt64? = nil) {
        self.code = code
        self.detail = detail
        self.archiveOffset = archiveOffset
    }

    package var description: String { detail + (archiveOffset.map { " at offset \($0)" } ?? "") }
}
