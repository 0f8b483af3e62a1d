/// Where the two objects of a backup lie: its name, and how often its file key has been wrapped anew.
///
/// | generation | archive | sidecar |
/// |---|---|---|
/// | 0 | `<org>/<vm>/<date>/<disk>.raw.zst.age` | `<org>/<vm>/<date>/<disk>.manifest.age` |
/// | *n* | `<org>/<vm>/<date>/generation-<n>/<disk>.raw.zst.age` | `<org>/<vm>/<date>/generation-<n>/<disk>.manifest.age` |
///
/// The archive of an imported backup lies where somebody else has put it (`archiveObject`), in generation 0; its sidecar where the
/// table says.
///
/// *n* is decimal, without leading zeros. The two forms differ in their number of components, so that no name of a disk can be
/// taken for a generation. A new generation of a backup has a higher number than the one before; numbers are skipped.
package struct BackupPlace: Hashable, Sendable, CustomStringConvertible {
    package let identifier: BackupIdentifier
    package let generation: UInt64
    /// The archive's key (below the backend's prefix) where it is not the one of the table.
    package let archiveObject: String?

    private static let folderStart = "generation-"

    package init(_ identifier: BackupIdentifier, generation: UInt64, archiveObject: String? = nil) {
        precondition(generation <= UInt64(Int64.max), "internal error: a generation beyond 63 bits")
        self.identifier = identifier
        self.generation = generation
        self.archiveObject = archiveObject == Self.archiveKey(identifier, generation) ? nil : archiveObject
    }

    /// The backup whose sidecar has this key (below the backend's prefix); nil for any other key.
    package init?(backend: ResourceName, manifestKey: String) {
        var parts = manifestKey.split(separator: "/", omittingEmptySubsequences: false)
        var generation: UInt64 = 0
        if parts.count == 5 {
            let folder = parts.remove(at: 3)
            let digits = folder.dropFirst(Self.folderStart.count)
            guard folder.hasPrefix(Self.folderStart), let number = Int64(digits), number > 0,
                String(number).utf8.elementsEqual(digits.utf8)
            else { return nil }
            generation = UInt64(number)
        }
        guard let identifier = BackupIdentifier(backend: backend, manifestKey: parts.joined(separator: "/")) else {
            return nil
        }
        self.init(identifier, generation: generation)
    }

    package var description: String { generation == 0 ? "\(identifier)" : "\(identifier), generation \(generation)" }

    /// The archive's object key, below the backend's prefix.
    package var archiveKey: String { archiveObject ?? Self.archiveKey(identifier, generation) }

    /// The sidecar's object key, below the backend's prefix.
    package var manifestKey: String {
        "\(Self.folder(identifier, generation))\(identifier.disk)\(BackupIdentifier.manifestEnding)"
    }

    private static func archiveKey(_ identifier: BackupIdentifier, _ generation: UInt64) -> String {
        "\(folder(identifier, generation))\(identifier.disk)\(BackupIdentifier.archiveEnding)"
    }

    private static func folder(_ identifier: BackupIdentifier, _ generation: UInt64) -> String {
        let date = "\(identifier.org)/\(identifier.vm)/\(identifier.date)/"
        return generation == 0 ? date : date + "\(folderStart)\(generation)/"
    }
}
