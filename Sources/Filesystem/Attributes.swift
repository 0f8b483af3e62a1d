/// What a file is.
package enum FileKind: Sendable, Hashable { case directory, regular, symbolicLink }

/// What `stat` shows. Sizes in bytes, times in seconds since 1970.
package struct Attributes: Sendable {
    package var number: UInt64 = 0
    package var kind: FileKind
    package var byteCount: UInt64 = 0
    /// Bytes that are data: what `st_blocks` is computed from.
    package var dataByteCount: UInt64 = 0
    /// Permission bits, before the mount's umask.
    package var permissions: UInt32
    /// Of them, those that the mount's umask does not take away.
    package var keptPermissions: UInt32 = 0
    /// nil: the mount's.
    package var userID: UInt32?
    /// nil: the mount's.
    package var groupID: UInt32?
    package var linkCount: UInt32 = 1
    package var modified: Int64
    /// How many seconds the kernel may believe this.
    package var validSeconds: Double

    package init(
        _ kind: FileKind, permissions: UInt32, byteCount: UInt64 = 0, dataByteCount: UInt64? = nil, modified: Int64,
        validSeconds: Double
    ) {
        self.kind = kind
        self.permissions = permissions
        self.byteCount = byteCount
        self.dataByteCount = dataByteCount ?? byteCount
        self.modified = modified
        self.validSeconds = validSeconds
        linkCount = kind == .directory ? 2 : 1
    }
}

package struct DirectoryEntry: Sendable {
    package let name: String
    package let kind: FileKind
    /// nil where the kernel has not looked it up yet.
    package let number: UInt64?
}

/// How a file is opened.
package struct OpenIntent: Sendable {
    package var forWriting: Bool
    package var truncates: Bool

    package init(forWriting: Bool, truncates: Bool) {
        self.forWriting = forWriting
        self.truncates = truncates
    }
}

/// What `lseek` looks for.
package enum SeekTarget: Sendable { case data, hole }

/// What `statfs` shows, in bytes.
package struct SpaceFigures: Sendable {
    package var totalByteCount: UInt64
    package var availableByteCount: UInt64
    package var fileCount: UInt64
}
