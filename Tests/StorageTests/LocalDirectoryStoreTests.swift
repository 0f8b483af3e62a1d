import Glibc
import StorageTesting
import SystemIO
import Testing

@testable import Storage

@Suite(.timeLimit(.minutes(1))) struct LocalDirectoryStoreTests {
    let folder: TemporaryFolder
    let store: LocalDirectoryStore
    var uploadFolder: String { folder.path + "/" + LocalDirectoryStore.uploadFolderName }

    init() throws {
        folder = try TemporaryFolder()
        store = LocalDirectoryStore(name: "local", path: folder.path)
    }

    func put(_ key: String, _ bytes: [UInt8]) throws {
        let key = try ObjectKey(key)
        _ = try bytes.withUnsafeBytes { try store.putIfAbsent(key, $0) }
    }

    func read(_ key: String, count: Int) throws -> [UInt8] {
        let key = try ObjectKey(key)
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try store.read(key, at: 0, into: $0) }
        return bytes
    }

    func fails(_ code: StorageError.Code, _ body: () throws -> Void) {
        #expect(performing: body, throws: { ($0 as? StorageError)?.code == code })
    }

    /// All calls of a store, each of which must fail alike when the store itself cannot be used.
    func eachCall(_ check: (_ name: String, _ body: () throws -> Void) -> Void) throws {
        let key = try ObjectKey("a/b")
        check("upload") { _ = try store.upload(key) }
        check("putIfAbsent") { try put("a/b", [1]) }
        check("read") { _ = try read("a/b", count: 0) }
        check("head") { _ = try store.head(key) }
        check("list") { _ = try store.list(prefix: "", after: nil, limit: 10) }
        check("list") { _ = try store.list(prefix: "a/", after: "a/a", limit: 10) }
        check("delete") { try store.delete(key) }
        check("abortUpload") {
            try store.abortUpload(identifier: "upload-" + String(repeating: "0", count: 32), key: key)
        }
        check("space") { _ = try store.space() }
        check("removeUnfinishedUploads") {
            _ = try store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: [])
        }
    }

    @Test func `a folder that is not there is unavailable to every call and never made`() throws {
        try Folder.remove(folder.path)
        try eachCall { name, body in
            #expect(performing: body, throws: { ($0 as? StorageError)?.code == .unavailable })
            #expect((try? FileFacts.of(folder.path)) == nil, "\(name) made the folder")
        }
        try store.createRoot()
        try store.createRoot()
        #expect(try store.list(prefix: "", after: nil, limit: 1).objects.isEmpty)
    }

    @Test func `a file in the place of the folder is unavailable`() throws {
        try Folder.remove(folder.path)
        _ = try OwnedFile(opening: folder.path, for: .write, options: .create)
        defer { unlink(folder.path) }
        try eachCall { _, body in fails(.unavailable, body) }
        fails(.unavailable) { try store.createRoot() }
    }

    @Test func `a folder that vanishes while it is used is unavailable, and nothing comes back in its place`() throws {
        try put("a/b", [1, 2, 3])
        #expect(try read("a/b", count: 3) == [1, 2, 3])
        let upload = try store.upload(ObjectKey("a/c"))
        try [1, 2, 3].withUnsafeBytes { try upload.append($0) }
        #expect(rename(folder.path, folder.path + ".away") == 0)
        defer { #expect(rename(folder.path + ".away", folder.path) == 0) }
        fails(.unavailable) { _ = try upload.complete() }
        upload.abort()
        try eachCall { _, body in fails(.unavailable, body) }
        #expect((try? FileFacts.of(folder.path)) == nil)
    }

    @Test func `leftovers of a killed process are never listed, and its journal's identifier removes them`() throws {
        try put("a/b", [1])
        let upload = try store.upload(ObjectKey("a/c"))
        try [9, 9].withUnsafeBytes { try upload.append($0) }
        // A killed process leaves the file, without the lock.
        let leftover = "upload-" + String(repeating: "ab", count: 16)
        _ = try OwnedFile(opening: uploadFolder + "/" + leftover, for: .write, options: .create)
        for prefix in ["", ".", ".holdfast-uploads", ".holdfast-uploads/"] {
            let page = try store.list(prefix: prefix, after: nil, limit: 10)
            #expect(page.objects.map(\.key.string) == (prefix.isEmpty ? ["a/b"] : []))
        }
        fails(.invalidKey) { _ = try store.head(ObjectKey(".holdfast-uploads/" + leftover)) }
        fails(.invalidKey) { try store.delete(ObjectKey(".holdfast-uploads/" + leftover)) }
        try store.abortUpload(identifier: leftover, key: ObjectKey("a/c"))
        #expect(try Folder.entries(of: uploadFolder).map(\.name) == [upload.identifier])
        _ = try upload.complete()
        #expect(try Folder.entries(of: uploadFolder).isEmpty)
    }

    @Test func `cleaning up removes abandoned uploads and spares those under way`() throws {
        let upload = try store.upload(ObjectKey("a/c"))
        let leftover = "upload-" + String(repeating: "cd", count: 16)
        _ = try OwnedFile(opening: uploadFolder + "/" + leftover, for: .write, options: .create)
        #expect(try store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: []) == [leftover])
        _ = try upload.complete()
        #expect(try store.head(ObjectKey("a/c")).byteCount == 0)
    }

    @Test(arguments: ["", "../a/b", "upload-", "upload-../../../../../../../../etc/pass", "publication-lock"])
    func `an identifier that is none cannot remove anything`(identifier: String) throws {
        try put("a/b", [1])
        fails(.invalidKey) { try store.abortUpload(identifier: identifier, key: ObjectKey("a/b")) }
        #expect(try read("a/b", count: 1) == [1])
    }

    @Test func `an object replaced behind the store's back is noticed by a read`() throws {
        try put("a/b", [1, 2, 3])
        #expect(try read("a/b", count: 3) == [1, 2, 3])
        try [UInt8]([4, 5, 6]).withUnsafeBytes { try atomicReplace(folder.path + "/a/b", $0, mode: 0o600) }
        #expect(try read("a/b", count: 3) == [4, 5, 6])
        try FileTree.remove(folder.path + "/a/b")
        fails(.absent) { _ = try read("a/b", count: 3) }
    }

    @Test func `more objects than may be open at one time are read`() throws {
        for number in 0..<100 { try put("a/\(number)", [UInt8(number)]) }
        for round in 0..<3 {
            for number in 0..<100 { #expect(try read("a/\(number)", count: 1) == [UInt8(number)], "round \(round)") }
        }
        #expect(store.openObjects.count == 64)
    }

    @Test func `empty folders go with their last object`() throws {
        try put("a/b/c/d", [1])
        try put("a/x", [1])
        try store.delete(ObjectKey("a/b/c/d"))
        #expect(try Folder.entries(of: folder.path + "/a").map(\.name) == ["x"])
        try store.delete(ObjectKey("a/x"))
        #expect(try Folder.entries(of: folder.path).map(\.name) == [LocalDirectoryStore.uploadFolderName])
    }

    @Test func `what is no object is not shown as one`() throws {
        try put("a/b", [1])
        #expect(symlink("b", folder.path + "/a/link") == 0)
        #expect(mkfifo(folder.path + "/a/pipe", 0o600) == 0)
        try makeDirectories(folder.path + "/lost+found", mode: 0o700)
        try [UInt8]([1]).withUnsafeBytes { try atomicReplace(folder.path + "/a/new\nline", $0, mode: 0o600) }
        #expect(try store.list(prefix: "", after: nil, limit: 10).objects.map(\.key.string) == ["a/b"])
        for name in ["a/link", "a/pipe", "a"] {
            fails(.absent) { _ = try read(name, count: 0) }
            fails(.absent) { _ = try store.head(ObjectKey(name)) }
        }
    }

    @Test func `a link in place of a folder leads nothing out of the store`() throws {
        let outside = try TemporaryFolder()
        try makeDirectories(outside.path + "/b", mode: 0o700)
        try [UInt8]([1, 2]).withUnsafeBytes { try atomicReplace(outside.path + "/b/c", $0, mode: 0o600) }
        try put("a/x", [1])
        #expect(symlink(outside.path, folder.path + "/a/link") == 0)
        for key in ["a/link/b/c", "a/link/c"] {
            fails(.absent) { _ = try read(key, count: 1) }
            fails(.absent) { _ = try store.head(ObjectKey(key)) }
            try store.delete(ObjectKey(key))
            fails(.invalidKey) { try put(key + "2", [1]) }
        }
        #expect(try store.list(prefix: "", after: nil, limit: 10).objects.map(\.key.string) == ["a/x"])
        #expect(try store.list(prefix: "a/link/", after: nil, limit: 10).objects.isEmpty)
        #expect(try Folder.entries(of: outside.path).map(\.name) == ["b"])
        #expect(try Folder.entries(of: outside.path + "/b").map(\.name) == ["c"])
        // The folder of a read object is put aside for a link to one with the same names.
        try put("d/b/c", [1, 2])
        #expect(try read("d/b/c", count: 2) == [1, 2])
        try FileTree.rename(folder.path + "/d", to: folder.path + "/e")
        #expect(symlink(outside.path, folder.path + "/d") == 0)
        fails(.absent) { _ = try read("d/b/c", count: 2) }
    }

    @Test func `a link in place of the folder of uploads takes nothing out of the store`() throws {
        let outside = try TemporaryFolder()
        try put("a", [1])
        #expect(rmdir(folder.path + "/" + LocalDirectoryStore.uploadFolderName) == 0)
        #expect(symlink(outside.path, folder.path + "/" + LocalDirectoryStore.uploadFolderName) == 0)
        fails(.invalidKey) { try put("b", [1]) }
        #expect(try Folder.entries(of: outside.path).isEmpty)
        #expect(try read("a", count: 1) == [1])
    }

    @Test func `a key through an object, or of a folder, is invalid here`() throws {
        try put("a/b", [1])
        fails(.invalidKey) { try put("a/b/c", [1]) }
        fails(.invalidKey) { try put("a", [1]) }
        #expect(try Folder.entries(of: uploadFolder).isEmpty)
    }

    @Test func `a large upload is whole, with write-back started on the way`() throws {
        let upload = try store.upload(ObjectKey("a/large"))
        let piece = [UInt8](repeating: 3, count: 1 << 20)
        for _ in 0..<80 { try piece.withUnsafeBytes { try upload.append($0) } }
        #expect(try upload.complete().byteCount == 80 << 20)
        #expect(try read("a/large", count: 80 << 20).allSatisfy { $0 == 3 })
    }

    // Longer than what is copied at once; at the same place in a block, where blocks can be shared, and at another one.
    @Test(arguments: [0, 200, 4096, 5000])
    func `a range is copied in pieces, wherever it lands`(offset: Int) throws {
        let block = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
        let source = try store.upload(ObjectKey("a/source"))
        for _ in 0..<65 { try block.withUnsafeBytes { try source.append($0) } }
        _ = try source.complete()
        let copy = try store.upload(ObjectKey("a/copy"))
        let head = [UInt8](repeating: 7, count: 200)
        try head.withUnsafeBytes { try copy.append($0) }
        try copy.append(copying: ObjectKey("a/source"), UInt64(offset)..<65 << 20)
        try head.withUnsafeBytes { try copy.append($0) }
        let count = 200 + (65 << 20) - offset + 200
        #expect(try copy.complete().byteCount == UInt64(count))
        let bytes = try read("a/copy", count: count)
        #expect(bytes.prefix(200).elementsEqual(head) && bytes.suffix(200).elementsEqual(head))
        let expected = try read("a/source", count: 65 << 20)
        let isSame = bytes.withUnsafeBytes { bytes in
            expected.withUnsafeBytes {
                memcmp(bytes.baseAddress! + 200, $0.baseAddress! + offset, $0.count - offset) == 0
            }
        }
        #expect(isSame)
    }
}
