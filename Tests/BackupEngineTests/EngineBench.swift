import Archive
import BackupEngine
import BackupNames
import Catalog
import Foundation
import Logging
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Synchronization
import Testing

/// A clock that tests set.
final class TestClock: WallClock {
    private let now: Mutex<Int64>

    init(_ now: Int64 = 1_795_000_000) { self.now = Mutex(now) }

    var secondsSince1970: Int64 { now.withLock { $0 } }

    func advance(_ seconds: Int64) { now.withLock { $0 += seconds } }
}

/// An engine over a store in memory that can be made to fail, with its state in a temporary folder.
final class EngineBench {
    let folder: String
    let memory: InMemoryStore
    let store: FaultInjectingStore
    /// The store of a second backend, "other".
    let otherMemory = InMemoryStore()
    let otherStore: FaultInjectingStore
    let clock = TestClock()
    let backendName: ResourceName
    private(set) var engine: Engine
    private let settings: ArchiveSettings
    /// Whether the backends lock objects: "memory" alone.
    private let locks: Bool
    let keysPath: String

    /// - Parameter other: another host, whose keys and backend this one has, too.
    /// - Parameter fakeSidecarCount: how many there are at the backend, before all others.
    init(
        frameByteCount: Int = 64 << 10, orgs: [String] = ["acme"], sharing other: EngineBench? = nil,
        fakeSidecarCount: Int = 0, locks: Bool = false
    ) throws {
        self.locks = locks
        memory = other?.memory ?? InMemoryStore()
        folder = NSTemporaryDirectory() + "holdfast-engine-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        store = FaultInjectingStore(
            fakeSidecarCount > 0 ? CrowdedStore(memory, fakeCount: fakeSidecarCount) : memory)
        otherStore = FaultInjectingStore(otherMemory)
        backendName = try ResourceName("memory")
        settings = ArchiveSettings(frameByteCount: frameByteCount)
        keysPath = other?.keysPath ?? folder + "/keys"
        for org in orgs where other == nil {
            _ = try KeyDirectory(path: keysPath).create(ResourceName(org), createdAt: "2026-11-22T00:00:00Z")
        }
        if locks { memory.setLockClock(clock.secondsSince1970) }
        engine = try Self.engine(
            folder, keysPath, [(backendName, store), (ResourceName("other"), otherStore)], settings, clock,
            locks: locks)
    }

    deinit {
        engine.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    var backend: Backend {
        get throws { try engine.backend(backendName) }
    }

    private static func engine(
        _ folder: String, _ keysPath: String, _ stores: [(name: ResourceName, store: any ObjectStore)],
        _ settings: ArchiveSettings, _ clock: TestClock, _ orgs: [ResourceName: OrgSettings] = [:],
        foreignCopyByteCount: UInt64 = 20 << 30, locks: Bool = false
    ) throws -> Engine {
        var log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        log.logLevel = .critical
        return Engine(
            catalog: try Catalog(path: folder + "/catalog.sqlite"),
            backends: stores.map {
                Backend(
                    name: $0.name, store: $0.store, isDisasterRecovery: true, minimumBilledDays: 30,
                    locksObjects: locks && "\($0.name)" == "memory")
            },
            keys: KeyDirectory(path: keysPath), orgs: orgs, archiveSettings: settings, memoryBudgetByteCount: 128 << 20,
            stateDirectory: folder, foreignCopyByteCount: foreignCopyByteCount, clock: clock, log: log)
    }

    /// As after the end of the process: nothing but the disk and the backend is left. With `forgetsCatalog` the catalog too.
    func reopen(
        forgetsCatalog: Bool = false, orgs: [ResourceName: OrgSettings] = [:], foreignCopyByteCount: UInt64 = 20 << 30
    ) throws {
        engine.close()
        memory.forgetUncompleted()
        otherMemory.forgetUncompleted()
        if forgetsCatalog {
            for ending in ["", "-wal", "-shm"] {
                try? FileManager.default.removeItem(atPath: folder + "/catalog.sqlite\(ending)")
            }
        }
        engine = try Self.engine(
            folder, keysPath, [(backendName, store), (ResourceName("other"), otherStore)], settings, clock, orgs,
            foreignCopyByteCount: foreignCopyByteCount, locks: locks)
    }

    /// Another process, configured otherwise, at the same time: `engine` is its while `body` runs.
    func reopenKeeping(orgs: [ResourceName: OrgSettings], _ body: () throws -> Void) throws {
        let before = engine
        engine = try Self.engine(
            folder, keysPath, [(backendName, store), (ResourceName("other"), otherStore)], settings,
            clock, orgs, locks: locks)
        defer {
            engine.close()
            engine = before
        }
        try body()
    }

    /// Time goes by, at the store, too.
    func advance(_ seconds: Int64) {
        clock.advance(seconds)
        memory.setLockClock(clock.secondsSince1970)
    }

    /// Makes the journal look as if another boot had left it.
    func orphanJournal() throws {
        for entry in try engine.catalog.uploads() {
            try engine.catalog.endUpload(try #require(entry.id))
            _ = try engine.catalog.beginUpload(
                UploadRecord(
                    backend: entry.backend, archiveKey: entry.archiveKey, manifestKey: entry.manifestKey,
                    uploadIdentifier: entry.uploadIdentifier, startedAt: entry.startedAt, ownerProcess: 1,
                    ownerStartTicks: 1,
                    ownerBootIdentifier: "another boot", phase: entry.phase))
        }
    }

    func disk(_ org: String = "acme", _ vm: String = "web", _ disk: String = "disk") throws -> DiskName {
        DiskName(org: try ResourceName(org), vm: try ResourceName(vm), disk: try ResourceName(disk))
    }

    func file(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = folder + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// Backs up bytes through a file.
    @discardableResult
    func backUp(_ bytes: [UInt8], as disk: DiskName? = nil) throws -> BackupIdentifier {
        clock.advance(60)
        let path = try file("source.raw", bytes)
        return try engine.backUp(
            ImageFile.open(path), as: disk ?? self.disk(), to: engine.backend(backendName)
        ).manifest.identifier
    }

    /// Restores to a file and gives its bytes.
    func restore(_ identifier: BackupIdentifier) throws -> [UInt8] {
        let path = folder + "/restored-\(UUID().uuidString).raw"
        defer { try? FileManager.default.removeItem(atPath: path) }
        _ = try engine.restore(identifier, to: path)
        return Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    func restore(_ identifier: BackupIdentifier, to path: String) throws {
        _ = try engine.restore(identifier, to: path)
    }

    /// Bytes of the archive at the backend.
    func storedByteCount(_ identifier: BackupIdentifier) throws -> UInt64 {
        UInt64(try #require(memory.bytes(of: ObjectKey(identifier.archiveKey))).count)
    }

    /// Changes an object behind everybody's back.
    func tamper(_ key: String, _ change: (inout [UInt8]) -> Void) throws {
        let key = try ObjectKey(key)
        var bytes = try #require(memory.bytes(of: key))
        change(&bytes)
        memory.tamper(key, bytes)
    }

    func code(_ body: () throws -> Void) -> EngineError.Code? {
        do {
            try body()
            return nil
        } catch {
            return EngineError(error, subject: "test").code
        }
    }
}

/// Stretches of zeros, text and noise, from a seed.
func testImage(_ byteCount: Int, seed: UInt64) -> [UInt8] {
    var state = seed
    func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 33 ^ state
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    while bytes.count < byteCount {
        let length = min(byteCount - bytes.count, Int(next() % 200_000) + 1)
        switch next() % 3 {
        case 0: bytes += [UInt8](repeating: 0, count: length)
        case 1: bytes += (0..<length).map { UInt8(truncatingIfNeeded: $0 / 11) & 0x1f | 1 }
        default: bytes += (0..<length).map { _ in UInt8(truncatingIfNeeded: next()) }
        }
    }
    return bytes
}
