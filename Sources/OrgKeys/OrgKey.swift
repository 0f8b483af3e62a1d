package import AgeFormat
package import BackupNames
package import CryptoPrimitives

/// What this host holds of an org's key.
package struct OrgKey: Sendable {
    package let org: ResourceName
    /// The current one first. Empty on a write-only host.
    package let identities: [AgeIdentity]
    /// Whom new backups are encrypted to: the current identity's.
    package let recipient: AgeRecipient
    /// Each checks manifests; the first, that of the current identity, seals new ones. Never empty.
    package let sealKeys: [SecretBytes]

    package init(org: ResourceName, identities: [AgeIdentity], recipient: AgeRecipient, sealKeys: [SecretBytes]) {
        precondition(!sealKeys.isEmpty, "internal error: a key without a seal key")
        self.org = org
        self.identities = identities
        self.recipient = recipient
        self.sealKeys = sealKeys
    }

    /// Whether backups of the org can be read here.
    package var canRead: Bool { !identities.isEmpty }

    package var currentSealKey: SecretBytes { sealKeys[0] }
}

/// One identity of an org, as it is told: without its secret.
package struct KeyEntry: Sendable, Hashable {
    package let recipient: AgeRecipient
    /// As the file's comment says; nil where it says nothing.
    package let createdAt: String?
    /// New backups are encrypted to it.
    package let isCurrent: Bool

    package init(recipient: AgeRecipient, createdAt: String?, isCurrent: Bool) {
        self.recipient = recipient
        self.createdAt = createdAt
        self.isCurrent = isCurrent
    }
}

/// What is wrong with a key or its file. No secret is ever part of it.
package struct KeyError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        case absent
        /// A key is there already; keys are never overwritten.
        case exists
        /// The org has a key, and no identity of that recipient.
        case noSuchIdentity
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
