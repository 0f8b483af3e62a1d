internal import SystemIO

/// Objects as files of a folder: the key is the path below the root.
///
/// Uploads are written to `.holdfast-uploads/<identifier>` in the root, made durable, and then named in one step that
/// never replaces. That folder, and `lost+found`, are no part of the store's names. So are symbolic links, special files
/// and names that are no valid key. Empty folders are removed with the last object in them.
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
        let objectPath = try path(of: key)
        do throws(Errno) {
            if let object = openObjects.object(for: key) {
                if try FileFacts.ofLink(objectPath).isSameContent(as: object.facts) { return object }
                openObjects.remove(key)
            }
            openObjects.dropRemoved()
            let object = try OpenObject(opening: objectPath)
            guard object.facts.kind == .regular else { throw .noEntry }
            openObjects.insert(object, for: key)
            return object
        } catch {
            openObjects.remove(key)
            throw objectError(error, key, "open for reading")
        }
    }

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        let objectPath = try path(of: key)
        do throws(Errno) {
            let facts = try FileFacts.ofLink(objectPath)
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
        let objectPath = try path(of: key)
        openObjects.remove(key)
        do throws(Errno) {
            // A folder of that name is not an object of that name.
            guard try FileFacts.ofLink(objectPath).kind == .regular else { throw .noEntry }
            try FileTree.remove(objectPath)
            try syncDirectory(Folder.parentPath(of: objectPath))
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
        for folder in folderPaths(above: key) {
            guard (try? Folder.remove(folder)) != nil else { return }
        }
    }

    // MARK: Paths

    var uploadFolderPath: String { path + "/" + Self.uploadFolderName }

    /// Names in the root that hold no objects.
    static func isReserved(rootName: String) -> Bool {
        rootName.utf8.elementsEqual(uploadFolderName.utf8) || rootName.utf8.elementsEqual(lostAndFoundName.utf8)
    }

    func path(of key: ObjectKey) throws(StorageError) -> String {
        if let first = key.components.first, Self.isReserved(rootName: first) {
            throw StorageError(.invalidKey, key.string, "the first component is reserved by the store")
        }
        return path + "/" + key.string
    }

    /// The folders between the object and the root, the root left out, the deepest first.
    func folderPaths(above key: ObjectKey) -> [String] {
        var folder = path
        return key.components.dropLast().map { component in
            folder += "/" + component
            return folder
        }.reversed()
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
