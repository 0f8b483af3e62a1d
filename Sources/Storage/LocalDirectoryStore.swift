internal import SystemIO

/// Objects as files of a folder: the key is the path below the root.
///
/// Uploads are written to `.holdfast-uploads/<identifier>` in the root, made durable, and then named in one step that
/// never replaces. That folder, and `lost+found`, are no part of the store's names. So are symbolic links, special files
/// and names that are no valid key. Empty folders are removed with the last object in them.
///
/// No link below the root is followed, in whatever place of a key: who can write to the folder cannot lead a read, an upload or a
/// removal out of it (``HeldFolder``).
///
/// The root must exist: when it is missing every call throws `.unavailable`, and nothing recreates it, for an unmounted
/// disk must not become an empty backend. ``createRoot()`` makes it, when somebody says so.
package final class LocalDirectoryStore: ObjectStore {
    /// The folder of uploads under way, below the root.
    package static let uploadFolderName = ".holdfast-uploads"
    /// Made by mkfs, readable by root only.
    private static let lostAndFoundName = "lost+found"
    /// Few enough for the usual limit of 1024 descriptors, enough for the archives that are read at one time.
    private static let openObjectLimit = 64

    package let name: String
    package let path: String
    let openObjects = OpenObjectCache(capacity: openObjectLimit)
    /// The first method to try.
    let publicationMethod: PublicationMethod

    /// Touches nothing; `path` is checked by each call.
    package convenience init(name: String, path: String) {
        self.init(name: name, path: path, publishingBy: .renameWithoutReplacing)
    }

    /// As on a file system that has only this method and those after it.
    init(name: String, path: String, publishingBy method: PublicationMethod) {
        self.name = name
        self.path = path
        publicationMethod = method
    }

    /// Makes the root folder, durably, and all that are missing above it. Not an error if it is there.
    package func createRoot() throws(StorageError) {
        do {
            try makeDirectories(path, mode: 0o700)
        } catch {
            if error == .notDirectory || error == .exists { throw rootError(error) }
            throw StorageError(error, path, "create the folder of backend \(name)")
        }
    }

    // MARK: Reading

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        let object = try openObject(key)
        let (end, overflow) = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !overflow, end <= object.facts.byteCount else {
            throw StorageError(
                .rangeNotSatisfiable, key.string,
                "the object has \(object.facts.byteCount) bytes, \(buffer.count) at \(offset) were asked for")
        }
        let count: Int
        do {
            count = try object.file.read(at: offset, into: buffer)
        } catch {
            throw StorageError(error, key.string, "read")
        }
        guard count == buffer.count else {
            openObjects.remove(key)
            throw StorageError(.changed, key.string, "the object was cut short while it was read")
        }
    }

    /// The open file of what the key names now: one stat(2) when it is cached and still the same.
    func openObject(_ key: ObjectKey) throws(StorageError) -> OpenObject {
        try checkName(key)
        do throws(Errno) {
            if let object = openObjects.object(for: key) {
                // The same file is the same, by whatever way: the folders need not be held for that.
                let facts = try? FileFacts.ofLink(path + "/" + key.string)
                if facts?.isSameContent(as: object.facts) ?? false { return object }
                openObjects.remove(key)
            }
            return try heldFolder(of: key).at(key.lastComponent) { (path) throws(Errno) in
                openObjects.dropRemoved()
                let object = try OpenObject(opening: path)
                guard object.facts.kind == .regular else { throw .noEntry }
                openObjects.insert(object, for: key)
                return object
            }
        } catch {
            openObjects.remove(key)
            throw objectError(error, key, "open for reading")
        }
    }

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        try checkName(key)
        do throws(Errno) {
            let facts = try heldFolder(of: key).at(key.lastComponent, FileFacts.ofLink)
            guard facts.kind == .regular else { throw .noEntry }
            return ObjectFacts(key: key, facts)
        } catch {
            throw objectError(error, key, "look up")
        }
    }

    package func space() throws(StorageError) -> StorageSpace? {
        openObjects.dropRemoved()
        try checkRoot()
        do {
            let space = try FileSystemSpace.of(path)
            return StorageSpace(
                totalByteCount: space.totalByteCount, availableByteCount: space.availableByteCount)
        } catch {
            throw rootError(error)
        }
    }

    package func copiesInPlace() -> Bool { true }

    // MARK: Deleting

    package func delete(_ key: ObjectKey) throws(StorageError) {
        try checkName(key)
        openObjects.remove(key)
        do throws(Errno) {
            let folder = try heldFolder(of: key)
            try folder.at(key.lastComponent) { (path) throws(Errno) in
                // A folder of that name is not an object of that name.
                guard try FileFacts.ofLink(path).kind == .regular else { throw .noEntry }
                try FileTree.remove(path)
            }
            try folder.here(syncDirectory)
        } catch {
            let failure = objectError(error, key, "delete")
            if failure.code == .absent { return }
            throw failure
        }
        removeEmptyFolders(above: key)
    }

    /// Only tidiness: a folder that is not empty, or is busy, stays, and a power cut may bring an empty one back. An upload
    /// that needs the folder meanwhile makes it again.
    func removeEmptyFolders(above key: ObjectKey) {
        var names = key.components.dropLast()
        while let last = names.popLast() {
            guard (try? HeldFolder(names, beneath: path).at(last, Folder.remove)) != nil else { return }
        }
    }

    // MARK: Paths

    /// Names in the root that hold no objects.
    static func isReserved(rootName: String) -> Bool {
        rootName.utf8.elementsEqual(uploadFolderName.utf8) || rootName.utf8.elementsEqual(lostAndFoundName.utf8)
    }

    /// Throws for names that the store has for itself.
    func checkName(_ key: ObjectKey) throws(StorageError) {
        if let first = key.components.first, Self.isReserved(rootName: first) {
            throw StorageError(.invalidKey, key.string, "the first component is reserved by the store")
        }
    }

    /// The folder that the object is in.
    func heldFolder(of key: ObjectKey) throws(Errno) -> HeldFolder {
        try HeldFolder(key.components.dropLast(), beneath: path)
    }

    // MARK: Errors

    /// Throws `.unavailable` unless the root is a folder.
    func checkRoot() throws(StorageError) {
        do throws(Errno) {
            guard try FileFacts.of(path).kind == .directory else { throw .notDirectory }
        } catch {
            throw rootError(error)
        }
    }

    func rootError(_ error: Errno) -> StorageError {
        let failure = StorageError(error, path, "use the folder of backend \(name)")
        if failure.code == .denied { return failure }
        return StorageError(.unavailable, path, "the folder of backend \(name) is not there", cause: error)
    }

    /// Tells a missing object from a missing store.
    func objectError(_ error: Errno, _ key: ObjectKey, _ action: String) -> StorageError {
        let failure = StorageError(error, key.string, action)
        // ELOOP is what O_NOFOLLOW gives for a symbolic link, and a link is no object.
        guard failure.code == .absent || error == .tooManySymbolicLinks else { return failure }
        do {
            try checkRoot()
        } catch {
            return error
        }
        return StorageError(.absent, key.string, "there is no such object in backend \(name)")
    }
}

extension ObjectFacts {
    init(key: ObjectKey, _ facts: FileFacts) {
        self.init(
            key: key, byteCount: facts.byteCount, modified: facts.modifiedSeconds,
            version: "\(facts.inode)-\(facts.modifiedSeconds).\(facts.modifiedNanoseconds)-\(facts.byteCount)")
    }
}
