package import CryptoPrimitives

/// What requests are signed with. The secret lives in guarded memory and has no description.
package struct S3Credentials: Sendable {
    package let accessKey: String
    package let secretKey: SecretBytes
    /// Sent as `x-amz-security-token`, for temporary credentials.
    package let sessionToken: String?
    /// Where they were found, for messages.
    package let origin: String

    package init(accessKey: String, secretKey: SecretBytes, sessionToken: String? = nil, origin: String) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
        self.origin = origin
    }
}
