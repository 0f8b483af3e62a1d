package import AgeFormat
package import BackupNames
package import CryptoPrimitives

/// What this host holds of an org's key.
package struct OrgKey: Sendable {
    package let org: ResourceName
    /// Empty on a write-only host.
    package let identities: [AgeIdentity]
    package let recipient: AgeRecipient
    /// Seals and checks manifests.
    package let sealKey: SecretBytes

    /// Whether backups of the org can be read here.
    package var canRead: Bool { !identities.isEmpty }
}

/// What is wrong with a key or its file. No secret is ever part of it.
package struct KeyError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        case absent
        /// A key is there already; keys are never overwritten.
        case exists
        /// Others than the owner may read or write the file.
        case insecureMode
        case malformed
        /// The file or folder cannot be read or written; `cause` says why.
        case inaccessible
        /// The host holds a write-only key where one that reads is needed.
        case writeOnly
    }

    package let code: Code
    package let subject: String
    package let detail: String
    package let cause: (any Error)?

    package init(_ code: Code, _ subject: String, _ detail: String, cause: (any Error)? = nil) {
        self.code = code
        self.subject = subject
        self.detail = detail
        self.cause = cause
    }

    package var description: String { "\"\(subject)\" \(detail)" }
}
