internal import BackupEngine
internal import Logging
internal import SystemIO

/// The state folder is its owner's alone: the catalog holds the names and hashes of everything, and is believed.
enum StateFolder {
    /// The catalog's files, as SQLite names them.
    private static let catalogFiles = ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"]

    /// Makes the folder if it is missing. What others could read or write is taken from them, and said. A folder that looks as
    /// if it were not ours alone (`/tmp`, `/var/lib`) is refused instead: closing it would break the machine.
    static func makePrivate(_ path: String, _ log: Logger) throws {
        try makeDirectories(path, mode: 0o700)
        let permissions = try FileFacts.of(path).permissions
        if permissions & 0o077 != 0 {
            let names = try Folder.entries(of: path).compactMap(\.name)
            guard permissions & 0o1000 == 0, names.isEmpty || names.contains(catalogFiles[0]) else {
                throw EngineError(
                    .catalog,
                    "the state folder \"\(path)\" is open to others (mode \(octal(permissions))) and holds other things than the catalog",
                    hint: "set `state_dir` to a folder of its own, or chmod 700 it")
            }
            try close(path, permissions, to: 0o700, log)
        }
        // Never opened to look: that would drop SQLite's locks (`CatalogFile.create`).
        for name in catalogFiles {
            let file = path + "/" + name
            guard let facts = try? FileFacts.ofLink(file), facts.kind == .regular, facts.permissions & 0o077 != 0 else {
                continue
            }
            try close(file, facts.permissions, to: 0o600, log)
        }
    }

    private static func close(_ path: String, _ permissions: UInt32, to mode: UInt32, _ log: Logger) throws {
        do throws(Errno) {
            try FileTree.setPermissions(path, mode)
        } catch {
            throw EngineError(
                .catalog, "\"\(path)\" is open to others (mode \(octal(permissions))) and cannot be closed: \(error)",
                hint: "chmod \(octal(mode)) it", cause: error)
        }
        log.warning("\"\(path)\" was open to others (mode \(octal(permissions))); it is \(octal(mode)) now")
    }

    private static func octal(_ mode: UInt32) -> String { String(mode, radix: 8) }
}
