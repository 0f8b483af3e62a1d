internal import SystemIO

/// The ways to give a finished file its final name without ever replacing another, best first.
enum PublicationMethod: CaseIterable, Sendable {
    /// One atomic step; current Linux file systems have it.
    case renameWithoutReplacing
    /// For NFS and older file systems: a second name, then the first is removed.
    case hardLink
    /// For file systems with neither (exFAT): atomic among holdfast's own processes, which take one lock for it.
    case renameUnderLock

    /// Publishes with the first method from `first` on that the file system has. `.exists` if the name is taken, or
    /// `.isDirectory` if by a folder.
    static func publish(
        _ temporary: String, in uploads: borrowing HeldFolder, as object: String, in folder: borrowing HeldFolder,
        startingWith first: Self
    ) throws(Errno) {
        try uploads.here { (uploadFolderPath) throws(Errno) in
            try folder.at(object) { (objectPath) throws(Errno) in
                try publish(
                    uploadFolderPath + "/" + temporary, as: objectPath, lockIn: uploadFolderPath, startingWith: first)
            }
        }
    }

    private static func publish(
        _ temporaryPath: String, as objectPath: String, lockIn uploadFolderPath: String, startingWith first: Self
    ) throws(Errno) {
        do throws(Errno) {
            switch first {
            case .renameWithoutReplacing: return try FileTree.renameWithoutReplacing(temporaryPath, to: objectPath)
            case .hardLink: return try link(temporaryPath, as: objectPath)
            case .renameUnderLock:
                return try rename(temporaryPath, as: objectPath, lock: uploadFolderPath + "/publication-lock")
            }
        } catch {
            if error == .exists, (try? FileFacts.ofLink(objectPath).kind) == .directory { throw .isDirectory }
            guard let next = first.next(after: error) else { throw error }
            try publish(temporaryPath, as: objectPath, lockIn: uploadFolderPath, startingWith: next)
        }
    }

    /// The method to try instead, if the error says that the file system does not have this one.
    private func next(after error: Errno) -> Self? {
        switch (self, error) {
        case (.renameWithoutReplacing, .invalidArgument), (.renameWithoutReplacing, .notImplemented): .hardLink
        case (.hardLink, .notPermitted), (.hardLink, .notSupported), (.hardLink, .notImplemented),
            (.hardLink, .tooManyLinks):
            .renameUnderLock
        default: nil
        }
    }

    private static func link(_ temporaryPath: String, as objectPath: String) throws(Errno) {
        try FileTree.link(temporaryPath, to: objectPath)
        // The object is there; a second name of it is only litter, which aborting the upload may remove.
        try? FileTree.remove(temporaryPath)
    }

    private static func rename(_ temporaryPath: String, as objectPath: String, lock lockPath: String) throws(Errno) {
        let lock = try OwnedFile(opening: lockPath, for: .write, options: [.create, .noFollow])
        try lock.lock()
        var isFree = false
        do {
            _ = try FileFacts.ofLink(objectPath)
        } catch {
            guard error == .noEntry else { throw error }
            isFree = true
        }
        guard isFree else { throw .exists }
        try FileTree.rename(temporaryPath, to: objectPath)
    }
}
