package import BackupEngine
internal import BackupNames
package import Catalog
package import SystemIO

/// The file of a snapshot, open to be read.
package final class SnapshotFile: Sendable {
    package let file: OwnedFile
    package let facts: FileFacts

    fileprivate init(_ file: consuming OwnedFile, _ facts: FileFacts) {
        self.file = file
        self.facts = facts
    }
}

extension Snapshots {
    /// The size and the room of a snapshot's file, as they are now.
    package func facts(of record: SnapshotRecord) throws(EngineError) -> FileFacts {
        try withFolder(of: record) { folder, name throws(Errno) in
            try folder.at(name) { path throws(Errno) in try FileFacts.ofLink(path) }
        }
    }

    /// Opens a snapshot's file to be read; it stays readable as long as it is open, whatever becomes of the snapshot. `.truncated` where
    /// it has not the size that it must have.
    package func open(_ record: SnapshotRecord) throws(EngineError) -> SnapshotFile {
        let opened = try withFolder(of: record) { folder, name throws(Errno) in
            try folder.at(name) { path throws(Errno) in
                let file = try OwnedFile(opening: path, for: .read, options: [.noFollow, .nonBlocking])
                let facts = try file.facts()
                return SnapshotFile(file, facts)
            }
        }
        guard opened.facts.kind == .regular, opened.facts.byteCount == record.rawByteCount else {
            throw EngineError(
                .truncated,
                "the snapshot \(record.identifier) has \(opened.facts.byteCount) bytes, not \(record.rawByteCount)")
        }
        return opened
    }

    /// Without its lock: nothing of a snapshot that has its name is ever changed.
    private func withFolder<Result>(
        of record: SnapshotRecord, _ body: (borrowing HeldFolder, _ name: String) throws(Errno) -> Result
    ) throws(EngineError) -> Result {
        let identifier = record.identifier
        let pool = try pool(identifier.pool)
        do throws(Errno) {
            let root = try SnapshotFolder.root(of: pool)
            let names = ["\(identifier.org)", "\(identifier.vm)", "\(identifier.disk)"]
            let folder = try root.here { path throws(Errno) in try HeldFolder(names, beneath: path) }
            return try body(folder, "\(identifier.date)\(SnapshotFolder.imageEnding)")
        } catch {
            if error == .noEntry {
                throw EngineError(.source, "the file of the snapshot \(identifier) is gone", cause: error)
            }
            throw SnapshotFolder.failure(error, pool, identifier.diskName)
        }
    }
}
