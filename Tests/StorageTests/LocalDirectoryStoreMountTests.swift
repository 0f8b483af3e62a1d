import Glibc
import Storage
import SystemIO
import Testing

/// A file system of its own: small enough to fill, and its own to make read-only.
private final class SmallFileSystem {
    let path: String

    init(byteCount: Int) throws {
        path = "/tmp/holdfast-tmpfs-" + String(UInt64.random(in: .min ... .max), radix: 16)
        try makeDirectories(path, mode: 0o700)
        let options = "size=\(byteCount)"
        try Errno.check { mount("tmpfs", path, "tmpfs", 0, options) }
    }

    func makeReadOnly() throws {
        // MS_RDONLY | MS_REMOUNT, sys/mount.h.
        try Errno.check { mount("tmpfs", path, "tmpfs", 1 | 32, nil) }
    }

    deinit {
        // MNT_DETACH: the store may have a file open.
        umount2(path, 2)
        rmdir(path)
    }
}

@Suite(
    .timeLimit(.minutes(1)), .serialized,
    .enabled(if: geteuid() == 0, "mounting a file system to fill or lock needs root"))
struct LocalDirectoryStoreMountTests {
    func fails(_ code: StorageError.Code, _ body: () throws -> Void) {
        #expect(performing: body, throws: { ($0 as? StorageError)?.code == code })
    }

    @Test func `a full disk is told as such, and an aborted upload gives the room back`() throws {
        let disk = try SmallFileSystem(byteCount: 4 << 20)
        let store = LocalDirectoryStore(name: "small", path: disk.path)
        let piece = [UInt8](repeating: 1, count: 1 << 20)
        let key = try ObjectKey("a/b")
        let upload = try store.upload(key)
        fails(.noSpace) {
            for _ in 0..<10 { try piece.withUnsafeBytes { try upload.append($0) } }
        }
        fails(.changed) { _ = try upload.complete() }
        #expect(try store.list(prefix: "", after: nil, limit: 10).objects.isEmpty)
        upload.abort()
        #expect(try store.space()!.availableByteCount > 3 << 20)
        fails(.noSpace) {
            _ = try [UInt8](repeating: 1, count: 5 << 20).withUnsafeBytes { try store.putIfAbsent(key, $0) }
        }
        #expect(try Folder.entries(of: disk.path + "/" + LocalDirectoryStore.uploadFolderName).isEmpty)
        _ = try piece.withUnsafeBytes { try store.putIfAbsent(key, $0) }
        #expect(try store.head(key).byteCount == 1 << 20)
    }

    @Test func `a read-only folder is read, and denies every change`() throws {
        let disk = try SmallFileSystem(byteCount: 4 << 20)
        let store = LocalDirectoryStore(name: "locked", path: disk.path)
        let key = try ObjectKey("a/b")
        _ = try [1, 2, 3].withUnsafeBytes { try store.putIfAbsent(key, $0) }
        try disk.makeReadOnly()
        fails(.denied) { _ = try store.upload(ObjectKey("a/c")) }
        fails(.denied) { _ = try [1].withUnsafeBytes { try store.putIfAbsent(key, $0) } }
        fails(.denied) { try store.delete(key) }
        #expect(try store.list(prefix: "", after: nil, limit: 10).objects.map(\.key) == [key])
        var bytes = [UInt8](repeating: 0, count: 3)
        try bytes.withUnsafeMutableBytes { try store.read(key, at: 0, into: $0) }
    }
}
