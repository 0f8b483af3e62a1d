internal import BackupNames

extension Configuration {
    /// A bucket of a server that speaks S3, as the file names it. Secrets are not in it: only where they are.
    package struct Bucket: Sendable, Equatable {
        package enum Addressing: String, Sendable, CaseIterable {
            case path
            case virtual
        }

        /// `http://host[:port]` or `https://host[:port]`.
        package var endpoint: String
        package var name: String
        package var region: String
        package var addressing = Addressing.path
        package var credentialsFile: String?
        package var profile: String?
        package var accessKeyVariable: String?
        package var secretKeyVariable: String?
        package var sessionTokenVariable: String?
        package var certificateAuthorityPath: String?
        package var connectSeconds = 10
        package var stallSeconds = 20
        /// For how long a read is repeated before it is an error.
        package var patienceSeconds = 60
        package var connections = 32
        package var uploadConcurrency = 4
        package var uploadPartByteCount = 8 << 20
        package var uploadPatienceSeconds = 900
        package var storageClass: String?
        package var serverSideEncryption: String?
        package var serverSideEncryptionKey: String?
        package var objectLockMode: String?
        package var objectLockDays: Int?

        package init(endpoint: String, name: String, region: String) {
            self.endpoint = endpoint
            self.name = name
            self.region = region
        }
    }

    private static let bucketKeys: Set<String> = [
        "type", "endpoint", "bucket", "region", "prefix", "country", "dr", "addressing", "credentials_file", "profile",
        "access_key_env", "secret_key_env", "session_token_env", "ca_file", "connect_seconds", "stall_seconds",
        "patience_seconds", "connections", "upload", "storage_class", "sse", "sse_key", "object_lock_mode",
        "object_lock_days", "minimum_billed_days", "price",
    ]

    static func parseBucket(_ table: ConfigurationTable) throws(ConfigurationError) -> Bucket {
        try table.allow(bucketKeys)
        let endpoint = try table.string("endpoint")
        guard isEndpoint(endpoint) else {
            throw table.error(.invalidValue, "endpoint", "must be https://HOST or http://HOST, with :PORT if need be")
        }
        let name = try table.string("bucket")
        let isName = name.utf8.allSatisfy { byte in
            byte == 0x2d || byte == 0x2e || byte == 0x5f || (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte)
                || (0x61...0x7a).contains(byte)
        }
        guard isName, (3...63).contains(name.utf8.count) else {
            throw table.error(.invalidValue, "bucket", "must be 3 to 63 letters, digits, hyphens and dots")
        }
        let region = try table.string("region")
        guard !region.isEmpty, region.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f }) else {
            throw table.error(.invalidValue, "region", "is no region")
        }
        var bucket = Bucket(endpoint: endpoint, name: name, region: region)
        if let text = try table.optionalString("addressing") {
            guard let addressing = Bucket.Addressing(rawValue: text) else {
                throw table.error(.invalidValue, "addressing", "must be \"path\" or \"virtual\"")
            }
            bucket.addressing = addressing
        }
        if try table.optionalString("credentials_file") != nil {
            bucket.credentialsFile = try table.path("credentials_file")
        }
        if try table.optionalString("ca_file") != nil { bucket.certificateAuthorityPath = try table.path("ca_file") }
        bucket.profile = try table.optionalString("profile")
        bucket.accessKeyVariable = try table.optionalString("access_key_env")
        bucket.secretKeyVariable = try table.optionalString("secret_key_env")
        bucket.sessionTokenVariable = try table.optionalString("session_token_env")
        guard (bucket.accessKeyVariable == nil) == (bucket.secretKeyVariable == nil) else {
            throw table.error(.missingKey, "secret_key_env", "and access_key_env are set together")
        }
        bucket.connectSeconds = try table.integer("connect_seconds", in: 1...300) ?? bucket.connectSeconds
        bucket.stallSeconds = try table.integer("stall_seconds", in: 1...3600) ?? bucket.stallSeconds
        bucket.patienceSeconds = try table.integer("patience_seconds", in: 1...86_400) ?? bucket.patienceSeconds
        bucket.connections = try table.integer("connections", in: 1...256) ?? bucket.connections
        if let upload = try table.table("upload") { try parseUpload(upload, &bucket) }
        bucket.storageClass = try headerValue("storage_class", table)
        bucket.serverSideEncryption = try headerValue("sse", table)
        bucket.serverSideEncryptionKey = try headerValue("sse_key", table)
        if let mode = try table.optionalString("object_lock_mode") {
            guard ["GOVERNANCE", "COMPLIANCE"].contains(mode) else {
                throw table.error(.invalidValue, "object_lock_mode", "must be \"GOVERNANCE\" or \"COMPLIANCE\"")
            }
            bucket.objectLockMode = mode
        }
        bucket.objectLockDays = try table.integer("object_lock_days", in: 1...36_500)
        guard bucket.objectLockDays == nil || bucket.objectLockMode != nil else {
            throw table.error(.missingKey, "object_lock_mode", "is missing: object_lock_days needs it")
        }
        return bucket
    }

    private static func parseUpload(
        _ table: ConfigurationTable, _ bucket: inout Bucket
    ) throws(ConfigurationError) {
        try table.allow(["concurrency", "part_size", "patience_seconds"])
        bucket.uploadConcurrency = try table.integer("concurrency", in: 1...64) ?? bucket.uploadConcurrency
        bucket.uploadPatienceSeconds =
            try table.integer("patience_seconds", in: 1...604_800) ?? bucket.uploadPatienceSeconds
        if let size = try table.optionalSize("part_size") {
            guard (5 << 20...1 << 30).contains(size) else {
                throw table.error(.invalidValue, "part_size", "must be 5MiB to 1GiB")
            }
            bucket.uploadPartByteCount = size
        }
    }

    /// What goes into a header as it is.
    private static func headerValue(
        _ key: String, _ table: ConfigurationTable
    ) throws(ConfigurationError) -> String? {
        guard let value = try table.optionalString(key) else { return nil }
        guard !value.isEmpty, value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw table.error(.invalidValue, key, "holds characters that cannot be sent")
        }
        return value
    }

    private static func isEndpoint(_ text: String) -> Bool {
        for scheme in ["https://", "http://"] where text.hasPrefix(scheme) {
            var rest = text.dropFirst(scheme.count)
            if rest.hasSuffix("/") { rest = rest.dropLast() }
            return !rest.isEmpty
                && rest.utf8.allSatisfy { byte in
                    byte > 0x20 && byte < 0x7f && !"/@?#\\\"".utf8.contains(byte)
                }
        }
        return false
    }
}
