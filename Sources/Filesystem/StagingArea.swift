internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Synchronization

/// All staged names of the mount. They live as long as the daemon; the backups made through them live in the catalog.
final class StagingArea: Sendable {
    private let engine: Engine
    private let files = Mutex<[StagedName: StagedFile]>([:])

    init(engine: Engine) {
        self.engine = engine
    }

    func file(_ name: StagedName) -> StagedFile? { files.withLock { $0[name] } }

    func names(in folder: VMPath) -> [StagedName] {
        files.withLock { $0.keys.filter { $0.folder == folder } }
    }

    var all: [StagedFile] { files.withLock { Array($0.values) } }

    /// The file of that name, made when there is none. `isNew` tells which.
    func create(_ name: StagedName) -> (file: StagedFile, isNew: Bool) {
        files.withLock { files in
            if let file = files[name] { return (file, false) }
            let file = StagedFile(name: name, engine: engine)
            files[name] = file
            return (file, true)
        }
    }

    func remove(_ name: StagedName, reason: String) throws {
        guard let file = files.withLock({ $0.removeValue(forKey: name) }) else {
            throw FileSystemError(.notFound, name.fileName)
        }
        file.remove(reason: reason)
    }

    /// Renames inside one folder; a held image is registered by it. A file that had the new name gives it up: what streams
    /// there keeps it.
    func rename(_ old: StagedName, to new: StagedName, replacing: Bool) throws {
        guard let file = file(old) else { throw FileSystemError(.notFound, old.fileName) }
        if let other = self.file(new), other !== file {
            guard replacing else { throw FileSystemError(.exists, new.fileName) }
            try other.checkWritable()
        }
        try file.rename(to: new)
        files.withLock { files in
            files[old] = nil
            files[new] = file
        }
    }

    /// The daemon ends: every writer gets an error, nothing half-done stays behind.
    func close() {
        for file in all { file.remove(reason: "the mount ends") }
    }
}

extension StagedFile {
    /// What `<name>.status` shows: one `key: value` a line, for people and for `grep`.
    var statusText: String {
        let now = snapshot
        var lines: [(String, String)] = []
        switch now.state {
        case .empty: lines.append(("state", "empty"))
        case .streaming: lines.append(("state", "streaming"))
        case .committing: lines.append(("state", "committing"))
        case .held: lines.append(("state", "uploaded, waiting for its final name"))
        case .committed: lines.append(("state", "committed"))
        case .failed: lines.append(("state", "failed"))
        }
        if let identifier = now.identifier ?? now.session?.identifier { lines.append(("backup", "\(identifier)")) }
        if let declared = now.declaredByteCount { lines.append(("declared_bytes", "\(declared)")) }
        lines.append(("received_bytes", "\(now.receivedByteCount)"))
        if let session = now.session {
            lines.append(("uploaded_bytes", "\(session.writer.progress.archiveByteCount)"))
        }
        if case .failed(let reason) = now.state { lines.append(("error", reason)) }
        return lines.map { "\($0): \($1)\n" }.joined()
    }
}
