internal import Storage

/// How one bucket is used.
package struct S3Settings: Sendable {
    /// The backend's name, for messages.
    package var name: String
    package var endpoint: S3Endpoint
    package var bucket: String
    package var region: String
    package var addressing: S3Endpoint.Addressing
    /// Components before every key, for the listing of what is ours.
    package var prefix: String
    /// A PEM file of certificates to trust instead of the system's.
    package var certificateAuthorityPath: String?

    package var connectMilliseconds = 10_000
    /// Without a byte in either direction for this long a request has failed.
    package var stallSeconds = 20
    /// Connections, and so requests, at once.
    package var connectionLimit = 32
    /// For how long a read, a listing or a removal is repeated.
    package var readPatienceSeconds = 60
    /// For how long each request of an upload is repeated.
    package var uploadPatienceSeconds = 900
    /// Parts of one upload under way at once.
    package var uploadConcurrency = 4
    /// The first parts of an upload; later ones grow.
    package var partByteCount = 8 << 20

    package var storageClass: String?
    /// `AES256`, `aws:kms`, …
    package var serverSideEncryption: String?
    package var serverSideEncryptionKey: String?
    package var objectLock: ObjectLock?

    /// Objects that cannot be removed for some time, not even by their owner.
    package struct ObjectLock: Sendable, Hashable {
        package enum Mode: String, Sendable, Hashable, CaseIterable {
            case governance = "GOVERNANCE"
            case compliance = "COMPLIANCE"
        }

        package var mode: Mode
        /// Of every object; nil: of those alone for which a lock is asked.
        package var days: Int?

        package init(mode: Mode, days: Int?) {
            self.mode = mode
            self.days = days
        }
    }

    package init(
        name: String, endpoint: S3Endpoint, bucket: String, region: String, addressing: S3Endpoint.Addressing = .path,
        prefix: String = ""
    ) {
        self.name = name
        self.endpoint = endpoint
        self.bucket = bucket
        self.region = region
        self.addressing = addressing
        self.prefix = prefix
    }
}
