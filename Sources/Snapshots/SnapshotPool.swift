package import BackupEngine
package import BackupNames
internal import Glibc
internal import SystemIO

/// A folder of live disk images, as `[pools.NAME]` has it. Its snapshots are in a hidden folder of it.
package struct SnapshotPool: Sendable, Hashable {
    /// Its owner's alone (0700), as the images of others are in it.
    static let folderName = ".holdfast-snapshots"

    package let name: ResourceName
    package let path: String
    /// As /proc/mounts calls it; another one there is an error. nil: any.
    package let fileSystem: String?

    package init(name: ResourceName, path: String, fileSystem: String? = nil) {
        self.name = name
        self.path = path
        self.fileSystem = fileSystem
    }

    /// The pool's folder without links, looked at: it is there, and on the file system that was said.
    package func realPath() throws(EngineError) -> String {
        let real = try resolved(path, "the pool \"\(name)\" cannot be used: \"\(path)\"")
        let kind: FileFacts.Kind
        do throws(Errno) {
            kind = try FileFacts.of(real).kind
        } catch {
            throw EngineError(.source, "the pool \"\(name)\" cannot be used: \"\(path)\": \(error)", cause: error)
        }
        guard kind == .directory else {
            throw EngineError(.source, "the pool \"\(name)\" cannot be used: \"\(path)\" is no folder")
        }
        guard let fileSystem else { return real }
        let found = MountEntry.holding(real)?.fileSystem
        guard found == fileSystem else {
            throw EngineError(
                .source,
                "the pool \"\(name)\" is on \(found ?? "an unknown file system"), and not on \(fileSystem) as configured",
                hint: "mount what belongs at \"\(path)\", or change file_system of [pools.\(name)]")
        }
        return real
    }

    /// Whether `path` is in the folder `real`, and not among its snapshots. Both without links.
    static func holds(_ path: String, in real: String) -> Bool {
        let prefix = real == "/" ? real : real + "/"
        return path.hasPrefix(prefix) && !(path + "/").hasPrefix(prefix + folderName + "/")
    }
}

/// The path without links; what does not exist is `.source`.
func resolved(_ path: String, _ subject: String) throws(EngineError) -> String {
    guard let real = realpath(path, nil) else {
        throw EngineError(.source, "\(subject): \(Errno.current)", cause: Errno.current)
    }
    defer { free(real) }
    return String(cString: real)
}

/// A disk's image in a pool.
package struct PooledImage: Sendable, Hashable {
    package let disk: DiskName
    package let pool: SnapshotPool
    /// Without links.
    package let path: String
    package let byteCount: UInt64
    /// What it takes of the pool.
    package let allocatedByteCount: UInt64
}
