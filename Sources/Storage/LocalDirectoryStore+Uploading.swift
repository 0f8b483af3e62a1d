internal import SystemIO

extension LocalDirectoryStore {
    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload {
        try startUpload(key)
    }

    package func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        let upload = try startUpload(key)
        do {
            try upload.append(bytes)
            return try upload.complete()
        } catch {
            upload.abort()
            throw error
        }
    }

    private func startUpload(_ key: ObjectKey) throws(StorageError) -> LocalUpload {
        try checkName(key)
        // Another process that cleans up may remove a new file before it is locked: then the next try has another name.
        for _ in 0..<100 {
            let identifier = Self.newIdentifier()
            do {
                let folder = try makeUploadFolder()
                let file = try folder.at(identifier) { (path) throws(Errno) in
                    try OwnedFile(opening: path, for: .write, options: [.create, .exclusive, .noFollow])
                }
                guard try file.tryLock(), try file.facts().linkCount > 0 else { continue }
                return LocalUpload(store: self, key: key, identifier: identifier, folder: folder, file: file)
            } catch {
                throw uploadError(error, key, "start an upload")
            }
        }
        throw StorageError(.unavailable, key.string, "uploads are removed as soon as they are made")
    }

    /// Not recursive: a missing root stays missing.
    private func makeUploadFolder() throws(Errno) -> HeldFolder {
        do {
            return try uploadFolder()
        } catch {
            guard error == .noEntry else { throw error }
        }
        try Folder.make(path + "/" + Self.uploadFolderName, mode: 0o700)
        return try uploadFolder()
    }

    private func uploadFolder() throws(Errno) -> HeldFolder {
        try HeldFolder([Self.uploadFolderName], beneath: path)
    }

    package func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        // It comes from a journal, and must not lead out of the folder.
        guard Self.isIdentifier(identifier) else {
            throw StorageError(.invalidKey, identifier, "not the identifier of an upload")
        }
        do throws(Errno) {
            try uploadFolder().at(identifier, FileTree.remove)
        } catch {
            let failure = uploadError(error, key, "abort the upload")
            if error == .noEntry, failure.code == .changed { return }
            throw failure
        }
    }

    /// Removes the uploads whose process is gone, and returns their identifiers: for those that died before any journal
    /// could know of them. Uploads under way, of this process and others, are locked and stay.
    package func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        try checkRoot()
        var removed: [String] = []
        do throws(Errno) {
            let folder = try uploadFolder()
            for entry in try folder.here(Folder.entries) where entry.kind == .regular {
                guard let identifier = entry.name, Self.isIdentifier(identifier), !alive.contains(identifier) else {
                    continue
                }
                do throws(Errno) {
                    try folder.at(identifier) { (path) throws(Errno) in
                        let file = try OwnedFile(opening: path, for: .read, options: .noFollow)
                        guard try file.facts().modifiedSeconds < startedBefore, try file.tryLock() else { return }
                        try FileTree.remove(path)
                        removed.append(identifier)
                    }
                } catch {
                    if error != .noEntry { throw error }
                }
            }
        } catch {
            if error != .noEntry { throw StorageError(error, path, "clean up uploads") }
        }
        return removed
    }

    /// `upload-` and 32 hexadecimal digits.
    private static func newIdentifier() -> String {
        let digits = (0..<2).map { _ in
            let half = String(UInt64.random(in: .min ... .max), radix: 16)
            return String(repeating: "0", count: 16 - half.count) + half
        }
        return "upload-" + digits.joined()
    }

    private static func isIdentifier(_ string: String) -> Bool {
        let bytes = string.utf8
        guard bytes.count == 39, bytes.starts(with: "upload-".utf8) else { return false }
        return bytes.dropFirst(7).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// Tells a missing upload from a missing store, and a path that runs through an object from both.
    func uploadError(_ error: Errno, _ key: ObjectKey, _ action: String) -> StorageError {
        do {
            try checkRoot()
        } catch {
            return error
        }
        if error == .notDirectory || error == .isDirectory {
            return StorageError(
                .invalidKey, key.string, "a folder of the key is an object or a link, or the key a folder")
        }
        if error == .noEntry {
            return StorageError(.changed, key.string, "the upload is not there any more", cause: error)
        }
        return StorageError(error, key.string, action)
    }
}
