package import CryptoPrimitives

/// What a reader has to open a file with.
package enum AgeCredential: Sendable {
    case identities([AgeIdentity])
    case passphrase(SecretBytes)
}
