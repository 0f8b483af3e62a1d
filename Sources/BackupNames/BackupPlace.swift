/// Where the two objects of a backup lie: its name, and how often its file key has been wrapped anew.
///
/// | generation | archive | sidecar |
/// |---|---|---|
/// | 0 | `<org>/<vm>/<date>/<disk>.raw.zst.age` | `<org>/<vm>/<date>/<disk>.manifest.age` |
/// | *n* | `<org>/<vm>/<date>/generation-<n>/<disk>.raw.zst.age` | `<org>/<vm>/<date>/generation-<n>/<disk>.manifest.age` |
///
/// *n* is decimal, without leading zeros. The two forms differ in their number of components, so that no name of a disk can be
/// taken for a generation. A new generation of a backup has a higher number than the one before; numbers are skipped.
package struct BackupPlace: Hashable, Sendable, CustomStringConvertible {
    package let identifier: BackupIdentifier
    package let generation: UInt64

    private static let folderStart = "generation-"

    package init(_ identifier: BackupIdentifier, generation: UInt64) {
        precondition(generation <= UInt64(Int64.max), "internal error: a generation beyond 63 bits")
        self.identifier = identifier
        self.generation = generation
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
    package var archiveKey: String { "\(folder)\(identifier.disk)\(BackupIdentifier.archiveEnding)" }

    /// The sidecar's object key, below the backend's prefix.
    package var manifestKey: String { "\(folder)\(identifier.disk)\(BackupIdentifier.manifestEnding)" }

    private var folder: String {
        let date = "\(identifier.org)/\(identifier.vm)/\(identifier.date)/"
        return generation == 0 ? date : date + "\(Self.folderStart)\(generation)/"
    }
}
