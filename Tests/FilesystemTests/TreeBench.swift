import Archive
import BackupEngine
import BackupNames
import Catalog
import Filesystem
import Foundation
import Logging
import OrgKeys
import Storage
import StorageTesting
import Testing
import Workers

/// The file system as the kernel would call it, without a kernel: over a store in memory, with a key for "acme".
final class TreeBench {
    static let frameByteCount = 64 << 10
    /// The root's number, in every FUSE file system.
    static let root: UInt64 = 1

    let filesystem: BackupFilesystem
    let store = InMemoryStore()
    let engine: Engine
    private let folder: String

    /// `wrapping` puts something before the store of the backend "memory"; a second backend is "other", as it is.
    init(
        frameByteCount: Int = TreeBench.frameByteCount, fetchThreadCount: Int = 4, budgetByteCount: Int = 128 << 20,
        orgs: [ResourceName: OrgSettings] = [:],
        wrapping: (InMemoryStore) -> any ObjectStore = { $0 }
    ) throws {
        folder = NSTemporaryDirectory() + "holdfast-tree-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let keys = KeyDirectory(path: folder + "/keys")
        _ = try keys.create(ResourceName("acme"), createdAt: "2026-11-22T00:00:00Z")
        engine = Engine(
            catalog: try Catalog(path: folder + "/catalog.sqlite"),
            backends: [
                Backend(
                    name: try ResourceName("memory"), store: wrapping(store), fetchThreadCount: fetchThreadCount),
                Backend(name: try ResourceName("other"), store: InMemoryStore(), fetchThreadCount: 2),
            ], keys: keys, orgs: orgs,
            archiveSettings: ArchiveSettings(frameByteCount: frameByteCount), memoryBudgetByteCount: budgetByteCount,
            clock: SystemClock(), log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        filesystem = BackupFilesystem(engine: engine)
        try makeFolders("staging/memory/acme/web")
        try makeFolders("staging/other/acme/web")
    }

    deinit {
        filesystem.close()
        engine.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// What a path below the root is, following nothing but folders.
    func number(_ path: String) throws -> UInt64 {
        try path.split(separator: "/").reduce(Self.root) { try filesystem.lookUp(String($1), in: $0).number }
    }

    func makeFolders(_ path: String) throws {
        var parent = Self.root
        for name in path.split(separator: "/").map(String.init) {
            do {
                parent = try filesystem.lookUp(name, in: parent).number
            } catch let error as FileSystemError where error.code == .notFound {
                parent = try filesystem.makeDirectory(name, in: parent).number
            }
        }
    }

    /// `open(O_CREAT | O_WRONLY)` of the staged disk.
    func create(_ name: String = "disk.raw", on backend: String = "memory", truncates: Bool = false) throws -> UInt64 {
        try filesystem.create(
            name, in: number("staging/\(backend)/acme/web"), exclusive: false,
            OpenIntent(forWriting: true, truncates: truncates)
        ).1
    }

    func write(_ handle: UInt64, _ bytes: some Collection<UInt8>, at offset: Int, thread: Int32 = getpid()) throws {
        try Array(bytes).withUnsafeBytes {
            let count = try filesystem.write(handle, $0, at: UInt64(offset), StagedCall(thread: thread))
            #expect(count == bytes.count)
        }
    }

    /// `close`: the flush and the release.
    func close(_ handle: UInt64) throws {
        defer { filesystem.release(handle) }
        try filesystem.flush(handle, StagedCall(thread: getpid()))
    }

    func read(_ path: String, at offset: Int = 0, count: Int = .max) throws -> [UInt8] {
        let number = try number(path)
        let size = Int(try filesystem.attributes(number).byteCount)
        let handle = try filesystem.open(number, OpenIntent(forWriting: false, truncates: false))
        defer { filesystem.release(handle) }
        var bytes: [UInt8] = []
        let end = min(size, count == .max ? size : offset + count)
        while offset + bytes.count < end {
            let slices = try filesystem.readWaiting(
                handle, at: UInt64(offset + bytes.count), count: min(1 << 20, end - offset - bytes.count))
            let before = bytes.count
            for slice in slices { bytes += slice.bytes }
            try #require(bytes.count > before, "a read inside the file is never empty")
        }
        return bytes
    }

    var status: String {
        get throws { String(decoding: try read("staging/memory/acme/web/disk.raw.status"), as: UTF8.self) }
    }

    /// The folder of the newest backup.
    var latest: String {
        get throws {
            let web = "memory/acme/web"
            return web + "/" + (try filesystem.readLink(number(web + "/latest")))
        }
    }

    /// Backs an image up, and opens it for reading.
    func openBackup(of image: [UInt8], on backend: String = "memory") throws -> UInt64 {
        let handle = try create(on: backend)
        var offset = 0
        while offset < image.count {
            let end = min(image.count, offset + (1 << 20))
            try write(handle, image[offset..<end], at: offset)
            offset = end
        }
        try close(handle)
        let web = "\(backend)/acme/web"
        let newest = try filesystem.readLink(number(web + "/latest"))
        return try filesystem.open(
            number("\(web)/\(newest)/disk.raw"), OpenIntent(forWriting: false, truncates: false))
    }

    /// Objects at the backend.
    var objectCount: Int {
        get throws { try store.list(prefix: "", after: nil, limit: 1000).objects.count }
    }

    func code(_ body: () throws -> Void) -> FileSystemError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? FileSystemError)?.code
        }
    }
}

extension BackupFilesystem {
    /// A read as its caller sees it: with the answer.
    func readWaiting(_ handle: UInt64, at offset: UInt64, count: Int) throws -> [ReadSlice] {
        switch try read(handle, at: offset, count: count) {
        case .ready(let slices): return slices
        case .pending(let read):
            let outcome = Monitor<PendingRead.Outcome?>(nil)
            read.whenDone { result in outcome.withLock { $0 = result } }
            return try outcome.wait { $0 }.get()
        }
    }
}

struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 31
    }
}
