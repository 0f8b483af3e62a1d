internal import Glibc
internal import SystemIO

/// The cache's files in their folder: `v1/lock`, `v1/index`, `v1/data`.
///
/// The lock belongs to the value: while it lives, no other process (and no other cache of this one) uses the folder. It ends
/// with the last reference, also by SIGKILL.
final class FolderDisk: CacheDisk {
    static let versionFolder = "v1"
    private let folder: String
    private let lock: OwnedFile
    private let index: OwnedFile
    private let data: OwnedFile

    /// Opens the files and gives them the sizes of the geometry; what does not fit it, or is of another format version, is
    /// emptied. `.wouldBlock`: another process has the cache.
    init(path: String, geometry: CacheGeometry) throws(Errno) {
        folder = path + "/" + Self.versionFolder
        try makeDirectories(folder, mode: 0o700)
        lock = try Self.lock(in: folder)
        index = try Self.open(folder + "/index")
        data = try Self.open(folder + "/data")
        let header = Self.header(of: index)
        if header?.geometry.blocksPerSlot != geometry.blocksPerSlot {
            // Not where they are empty: ext4 writes a file that was cut to nothing to the disk when it is closed.
            if try index.facts().byteCount > 0 { try index.truncate(to: 0) }
            if try data.facts().byteCount > 0 { try data.truncate(to: 0) }
        }
        // The whole size at once, as a hole: file systems reserve room ahead only beyond the end of a file.
        try data.truncate(to: geometry.dataByteCount)
        try index.truncate(to: geometry.indexByteCount)
        if header?.geometry != geometry {
            var failure: Errno?
            IndexHeader(geometry).serialized().withUnsafeBytes { bytes in
                do throws(Errno) { try index.write(bytes, at: 0) } catch { failure = error }
            }
            if let failure { throw failure }
        }
    }

    /// Removes the files of a cache that is not wanted any more, unless another process uses them. Makes nothing.
    static func remove(path: String) throws(Errno) {
        let folder = path + "/" + versionFolder
        do throws(Errno) {
            guard try FileFacts.ofLink(folder).kind == .directory else { return }
            let held = try lock(in: folder)
            for name in ["data", "index", "lock"] {
                do throws(Errno) {
                    try FileTree.remove(folder + "/" + name)
                } catch {
                    if error != .noEntry { throw error }
                }
            }
            try Folder.remove(folder)
            _ = consume held
        } catch {
            if error != .noEntry { throw error }
        }
    }

    /// Takes the lock file's lock. The name must still lead to the file that was locked, for `remove` takes the name away.
    private static func lock(in folder: String) throws(Errno) -> OwnedFile {
        while true {
            let file = try open(folder + "/lock")
            guard try file.tryLock() else { throw .wouldBlock }
            let named: FileFacts
            do throws(Errno) {
                named = try FileFacts.ofLink(folder + "/lock")
            } catch {
                if error == .noEntry { continue }
                throw error
            }
            let facts = try file.facts()
            if named.inode == facts.inode, named.device == facts.device { return file }
        }
    }

    private static func open(_ path: String) throws(Errno) -> OwnedFile {
        let file = try OwnedFile(opening: path, for: .readWrite, options: [.create, .noFollow, .nonBlocking])
        guard try file.facts().kind == .regular else { throw .invalidArgument }
        try file.setPermissions(0o600)
        return file
    }

    private static func header(of index: borrowing OwnedFile) -> IndexHeader? {
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: IndexHeader.byteCount, alignment: 8)
        defer { page.deallocate() }
        guard let count = try? index.read(at: 0, into: page), count == page.count else { return nil }
        return IndexHeader(parsing: UnsafeRawBufferPointer(page))
    }

    func read(_ file: CacheFile, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        switch file {
        case .index: try index.read(at: offset, into: buffer)
        case .data: try data.read(at: offset, into: buffer)
        }
    }

    func write(_ file: CacheFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        switch file {
        case .index: try index.write(bytes, at: offset)
        case .data: try data.write(bytes, at: offset)
        }
    }

    func release(_ range: Range<UInt64>) throws(Errno) { try data.punchHole(range) }

    func space() throws(Errno) -> CacheSpace {
        let space = try FileSystemSpace.of(folder)
        return CacheSpace(
            totalByteCount: space.totalByteCount,
            availableByteCount: space.isReadOnly ? 0 : space.availableByteCount)
    }
}
