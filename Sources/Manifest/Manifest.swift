package import BackupNames
package import CryptoPrimitives

/// A partition of the image, as its table lists it.
package struct ManifestPartition: Sendable, Hashable {
    /// As Linux numbers them.
    package let number: Int
    package let rawOffset: UInt64
    package let byteCount: UInt64
    package let type: String
    package let name: String

    package init(number: Int, rawOffset: UInt64, byteCount: UInt64, type: String, name: String) {
        self.number = number
        self.rawOffset = rawOffset
        self.byteCount = byteCount
        self.type = type
        self.name = name
    }
}

/// The facts of one backup, version 1. Manifest.md in this module's DocC catalog lists the members of its JSON form.
package struct Manifest: Sendable, Equatable {
    package static let format: UInt64 = 1

    package var identifier: BackupIdentifier
    /// The consistent point, seconds since 1970.
    package var createdAt: Int64
    package var region: String?
    package var country: String?
    package var rawByteCount: UInt64
    package var rawSHA256: SHA256Digest
    package var archiveByteCount: UInt64
    package var archiveSHA256: SHA256Digest
    /// Of the age header and the 16-byte payload nonce: pins the file key and with it every chunk.
    package var headerSHA256: SHA256Digest
    /// Of the seek table's skippable frame: pins the copy in the catalog.
    package var seekTableSHA256: SHA256Digest
    package var frameByteCount: Int
    package var zstdLevel: Int
    package var recipients: [String]
    /// How the consistent point was reached: `none` where the source was read as it was.
    package var consistency: String
    package var toolVersion: String
    package var uploadMilliseconds: Int
    package var partitions: [ManifestPartition]
    /// How often the file key was wrapped anew, as `BackupPlace` counts: of which objects this is the manifest.
    package var generation: UInt64
    /// Where the archive was found when it was imported: its key below the backend's prefix. nil where its name gives the key.
    package var archiveObject: String?
    /// Raw bytes outside holes, of a foreign archive only: of others the seek table tells.
    package var dataByteCount: UInt64?

    package init(
        identifier: BackupIdentifier, createdAt: Int64, region: String?, country: String?, rawByteCount: UInt64,
        rawSHA256: SHA256Digest, archiveByteCount: UInt64, archiveSHA256: SHA256Digest, headerSHA256: SHA256Digest,
        seekTableSHA256: SHA256Digest, frameByteCount: Int, zstdLevel: Int, recipients: [String], consistency: String,
        toolVersion: String, uploadMilliseconds: Int, partitions: [ManifestPartition], generation: UInt64 = 0
    ) {
        self.identifier = identifier
        self.createdAt = createdAt
        self.region = region
        self.country = country
        self.rawByteCount = rawByteCount
        self.rawSHA256 = rawSHA256
        self.archiveByteCount = archiveByteCount
        self.archiveSHA256 = archiveSHA256
        self.headerSHA256 = headerSHA256
        self.seekTableSHA256 = seekTableSHA256
        self.frameByteCount = frameByteCount
        self.zstdLevel = zstdLevel
        self.recipients = recipients
        self.consistency = consistency
        self.toolVersion = toolVersion
        self.uploadMilliseconds = uploadMilliseconds
        self.partitions = partitions
        self.generation = generation
    }

    /// Made by other programs: a plain `zstd | age` file, which has no seek table.
    package var isForeign: Bool { seekTableSHA256 == SHA256Hasher.digest(of: []) }

    // MARK: Sealing

    /// The JSON with its `mac`, one member a line.
    package func sealed(with sealKey: SecretBytes) -> [UInt8] {
        var members = json
        let code = CanonicalJSON.object(members).bytes.withUnsafeBytes {
            HMACSHA256.authenticationCode(for: $0, key: sealKey)
        }
        members["mac"] = .string(SHA256Digest(code).hexadecimal)
        return CanonicalJSON.object(members).prettyBytes
    }

    /// Checks the MAC first, then reads. Members that this version does not know are covered by the MAC and ignored.
    ///
    /// Any of the seal keys may have made it: those of an org's older identities count as its current one does.
    package init(verifying bytes: [UInt8], sealKeys: [SecretBytes]) throws(ManifestError) {
        let members = try Self.members(of: bytes)
        var covered = members
        guard case .string(let text)? = covered.removeValue(forKey: "mac"), let code = SHA256Digest(hexadecimal: text)
        else {
            throw ManifestError(.notAuthentic, "the manifest has no MAC")
        }
        // Every key is tried, so that the time does not tell which one fits.
        let isValid = CanonicalJSON.object(covered).bytes.withUnsafeBytes { text in
            sealKeys.reduce(false) { HMACSHA256.isValid(code.bytes, for: text, key: $1) || $0 }
        }
        guard isValid else {
            throw ManifestError(.notAuthentic, "the manifest is not authentic: changed, or made without the org's key")
        }
        try self.init(members)
    }

    /// Reads without checking: where no key of the org is at hand, and the hash of an archive is all that is asked.
    package init(unverified bytes: [UInt8]) throws(ManifestError) {
        try self.init(Self.members(of: bytes))
    }

    private static func members(of bytes: [UInt8]) throws(ManifestError) -> [String: CanonicalJSON] {
        guard case .object(let members) = try CanonicalJSONParser.parse(bytes) else {
            throw ManifestError(.malformed, "the manifest is not an object")
        }
        return members
    }
}

extension SHA256Digest {
    /// 32 bytes as a digest.
    fileprivate init(_ bytes: [UInt8]) {
        self = bytes.withUnsafeBytes { SHA256Digest($0) }
    }
}
