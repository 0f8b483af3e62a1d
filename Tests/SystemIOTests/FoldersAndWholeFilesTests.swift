import Glibc
import Testing

@testable import SystemIO

@Suite(.timeLimit(.minutes(1))) struct FoldersAndWholeFilesTests {
    let folder: TemporaryFolder
    var path: String { folder.path + "/f" }

    init() throws {
        folder = try TemporaryFolder()
    }

    func replace(_ bytes: [UInt8], mode: UInt32 = 0o600) throws {
        try bytes.withUnsafeBytes { try atomicReplace(path, $0, mode: mode) }
    }

    @Test func `a replaced file has the new bytes and mode, and nothing else is left`() throws {
        try replace([1, 2, 3])
        try replace([4, 5], mode: 0o644)
        #expect(try readWholeFile(path, maximumByteCount: 2) == [4, 5])
        #expect(try FileFacts.of(path).permissions == 0o644)
        #expect(try Folder.entries(of: folder.path).map(\.name) == ["f"])
    }

    @Test func `a failed replacement leaves no temporary name`() throws {
        try Folder.make(path, mode: 0o700)
        #expect(throws: Errno.isDirectory) { try replace([1]) }
        #expect(try Folder.entries(of: folder.path).map(\.name) == ["f"])
    }

    @Test(arguments: [0, 1, 4095, 4096, 4097, 65_536, 200_000])
    func `a whole file is read up to the limit and not beyond`(count: Int) throws {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 3) }
        try replace(bytes)
        #expect(try readWholeFile(path, maximumByteCount: count) == bytes)
        #expect(try readWholeFile(path, maximumByteCount: count + 100_000) == bytes)
        if count > 0 {
            #expect(throws: Errno.fileTooLarge) { try readWholeFile(path, maximumByteCount: count - 1) }
        }
    }

    @Test func `a file of proc, which says it is empty, is read whole`() throws {
        #expect(try !readWholeFile("/proc/self/status", maximumByteCount: 1 << 20).isEmpty)
        #expect(throws: Errno.fileTooLarge) { try readWholeFile("/proc/self/status", maximumByteCount: 10) }
    }

    @Test func `folders are made with all above them, once`() throws {
        let deep = folder.path + "/a/b/c"
        try makeDirectories(deep, mode: 0o700)
        try makeDirectories(deep, mode: 0o700)
        #expect(try FileFacts.of(deep).kind == .directory)
        try replace([1])
        #expect(throws: (any Error).self) { try makeDirectories(path + "/x", mode: 0o700) }
        #expect(throws: Errno.exists) { try makeDirectories(path, mode: 0o700) }
    }

    @Test func `a listing names everything with its kind, and a missing folder is an error`() throws {
        try replace([1])
        try Folder.make(folder.path + "/d", mode: 0o700)
        #expect(symlink("f", folder.path + "/l") == 0)
        let entries = try Folder.entries(of: folder.path).sorted { $0.name! < $1.name! }
        #expect(entries.map(\.name) == ["d", "f", "l"])
        #expect(entries.map(\.kind) == [.directory, .regular, .symbolicLink])
        #expect(throws: Errno.noEntry) { try Folder.entries(of: folder.path + "/missing") }
        #expect(throws: Errno.notDirectory) { try Folder.entries(of: path) }
    }

    @Test func `a rename without replacing never replaces`() throws {
        try replace([1])
        try FileTree.link(path, to: folder.path + "/g")
        #expect(throws: Errno.exists) { try FileTree.renameWithoutReplacing(path, to: folder.path + "/g") }
        try FileTree.renameWithoutReplacing(path, to: folder.path + "/h")
        #expect(throws: Errno.exists) { try FileTree.link(folder.path + "/g", to: folder.path + "/h") }
    }

    @Test(arguments: [
        ("/a/b", "/a"), ("/a", "/"), ("a", "."), ("a/b/", "a"), ("/", "/"), ("/a//b", "/a"), ("//a", "/"),
    ])
    func `the parent of a path is its folder`(path: String, parent: String) {
        #expect(Folder.parentPath(of: path) == parent)
    }

    @Test func `the space of a file system is plausible`() throws {
        let space = try FileSystemSpace.of(folder.path)
        #expect(space.totalByteCount > 0 && space.availableByteCount <= space.totalByteCount)
        #expect(throws: Errno.noEntry) { try FileSystemSpace.of(folder.path + "/missing") }
    }
}
