package import BackupNames

/// A registered backup without what only opening it needs.
package struct BackupSummary: Sendable, Hashable {
    package let identifier: BackupIdentifier
    package let rawByteCount: UInt64
    package let archiveByteCount: UInt64
    /// Raw bytes that are not holes.
    package let dataByteCount: UInt64
    /// The consistent point, seconds since 1970.
    package let createdAt: Int64
    /// Of the objects that the row is about.
    package let generation: UInt64
    /// The archive's key below the backend's prefix, where it is not the one that the names give.
    package let archiveObject: String?
    /// Until when its store refuses to remove the archive, seconds since 1970, as was last read back; nil where it is not locked.
    package let lockedUntil: Int64?

    package init(
        identifier: BackupIdentifier, rawByteCount: UInt64, archiveByteCount: UInt64, dataByteCount: UInt64,
        createdAt: Int64, generation: UInt64 = 0, archiveObject: String? = nil, lockedUntil: Int64? = nil
    ) {
        self.identifier = identifier
        self.rawByteCount = rawByteCount
        self.archiveByteCount = archiveByteCount
        self.dataByteCount = dataByteCount
        self.createdAt = createdAt
        self.generation = generation
        self.archiveObject = archiveObject
        self.lockedUntil = lockedUntil
    }

    /// Where its objects lie.
    package var place: BackupPlace { BackupPlace(identifier, generation: generation, archiveObject: archiveObject) }
}

/// A registered backup with everything that opens it without a request.
package struct BackupRecord: Sendable, Hashable {
    package let identifier: BackupIdentifier
    /// The manifest as sealed.
    package let manifestJSON: [UInt8]
    /// The age header and the 16-byte payload nonce.
    package let archiveHeader: [UInt8]
    /// The skippable frame of the seek table.
    package let seekTable: [UInt8]
    package let rawByteCount: UInt64
    package let archiveByteCount: UInt64
    package let dataByteCount: UInt64
    package let createdAt: Int64
    package let generation: UInt64
    package let archiveObject: String?
    /// As of `BackupSummary`.
    package let lockedUntil: Int64?

    package init(
        identifier: BackupIdentifier, manifestJSON: [UInt8], archiveHeader: [UInt8], seekTable: [UInt8],
        rawByteCount: UInt64, archiveByteCount: UInt64, dataByteCount: UInt64, createdAt: Int64,
        generation: UInt64 = 0, archiveObject: String? = nil, lockedUntil: Int64? = nil
    ) {
        self.identifier = identifier
        self.manifestJSON = manifestJSON
        self.archiveHeader = archiveHeader
        self.seekTable = seekTable
        self.rawByteCount = rawByteCount
        self.archiveByteCount = archiveByteCount
        self.dataByteCount = dataByteCount
        self.createdAt = createdAt
        self.generation = generation
        self.archiveObject = archiveObject
        self.lockedUntil = lockedUntil
    }

    /// Where its objects lie.
    package var place: BackupPlace { BackupPlace(identifier, generation: generation, archiveObject: archiveObject) }
}

/// A journal entry: something under way at a backend that is not, or no longer, registered.
package struct UploadRecord: Sendable, Hashable {
    package enum Phase: String, Sendable {
        /// Bytes are on their way. Nothing has the archive's name because of this entry.
        case upload
        /// The archive may have got its name, and the sidecar too.
        case complete
        /// What has these names is ours, and is to go.
        case remove
    }

    /// nil before it is written.
    package var id: Int64?
    package let backend: ResourceName
    package let archiveKey: String
    package let manifestKey: String
    /// The store's name of the upload; empty before there is one.
    package let uploadIdentifier: String
    package let startedAt: Int64
    package let ownerProcess: Int32
    package let ownerStartTicks: UInt64
    package let ownerBootIdentifier: String
    package var phase: Phase

    package init(
        id: Int64? = nil, backend: ResourceName, archiveKey: String, manifestKey: String, uploadIdentifier: String,
        startedAt: Int64, ownerProcess: Int32, ownerStartTicks: UInt64, ownerBootIdentifier: String,
        phase: Phase = .upload
    ) {
        self.id = id
        self.backend = backend
        self.archiveKey = archiveKey
        self.manifestKey = manifestKey
        self.uploadIdentifier = uploadIdentifier
        self.startedAt = startedAt
        self.ownerProcess = ownerProcess
        self.ownerStartTicks = ownerStartTicks
        self.ownerBootIdentifier = ownerBootIdentifier
        self.phase = phase
    }
}

/// A folder made in staging: an org's (vm is nil) or a vm's.
package struct StagingFolder: Sendable, Hashable {
    package let backend: ResourceName
    package let org: ResourceName
    package let vm: ResourceName?
}
