package import AgeFormat

/// The manifest as it lies beside its archive: encrypted to the same recipients, so that the raw hash is never at a backend
/// in clear.
package enum ManifestSidecar {
    /// No sidecar is larger: manifests take one or two KiB.
    package static let maximumByteCount = 1 << 20

    package static func encrypt(_ sealed: [UInt8], to recipients: [String]) throws -> [UInt8] {
        try Age.encrypt(sealed, to: recipients.map { try AgeRecipient($0) })
    }

    package static func decrypt(_ sidecar: [UInt8], identities: [AgeIdentity]) throws(AgeError) -> [UInt8] {
        try Age.decrypt(sidecar, identities: identities, maximumByteCount: maximumByteCount)
    }
}
