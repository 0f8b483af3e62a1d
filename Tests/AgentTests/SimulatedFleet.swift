import Agent
import Archive
import BackupEngine
import BackupNames
import Catalog
import Foundation
import Logging
import OrgKeys
import Retention
import Storage
import StorageTesting
import Synchronization
import Testing
import Workers

/// A clock that a simulation sets.
final class SimulatedClock: WallClock {
    private let now: Mutex<Int64>

    init(_ now: Int64) { self.now = Mutex(now) }

    var secondsSince1970: Int64 {
        get { now.withLock { $0 } }
        set { now.withLock { $0 = newValue } }
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func happens(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

/// A disk in memory: its bytes say whose they are and when they were read.
struct SimulatedDisk: ImageSource, Sendable {
    static let size = 20_000

    let name: String
    let consistentAt: Int64?
    var byteCount: UInt64? { UInt64(Self.size) }
    var consistency: String { "none" }

    func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        let buffer = try sink.takeFrameBuffer()
        let text = Array("\(name) at \(consistentAt ?? 0)\n".utf8)
        buffer.bytes.copyBytes(from: text)
        UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[text.count..<Self.size]).initializeMemory(
            as: UInt8.self, repeating: 0x5a)
        try sink.submit(buffer, count: Self.size)
        try progress(UInt64(Self.size), UInt64(Self.size))
    }
}

/// A host with an agent, its catalog in memory, and the backends it shares with others. Its process can end at any moment.
final class SimulatedHost {
    let backends: [SimulatedBackend]
    let clock: SimulatedClock
    let disks: [AutomaticDisk]
    private let folder: String
    private let keysPath: String
    private let settings: AgentSettings
    private let sharesWork: Bool
    /// Numbers the process, so that an earlier one is known to be dead.
    private var life: UInt64 = 0
    private(set) var engine: Engine
    private(set) var agent: Agent
    /// Begun, and not yet performed.
    var running: [(run: AgentRun, endsAt: Int64)] = []

    init(
        _ name: String, _ backends: [SimulatedBackend], _ clock: SimulatedClock, _ disks: [AutomaticDisk],
        _ settings: AgentSettings, keysPath: String, sharesWork: Bool = false
    ) throws {
        folder = "/dev/shm/holdfast-agent-\(name)-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        self.backends = backends
        self.clock = clock
        self.disks = disks
        self.settings = settings
        self.keysPath = keysPath
        self.sharesWork = sharesWork
        engine = try Self.engine(folder, backends, keysPath, clock)
        agent = try Self.agent(engine, disks, settings, sharesWork ? backends[0].name : nil, life)
    }

    deinit {
        engine.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static func engine(
        _ folder: String, _ backends: [SimulatedBackend], _ keysPath: String, _ clock: SimulatedClock
    ) throws -> Engine {
        var log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        log.logLevel = .critical
        return Engine(
            catalog: try Catalog(path: folder + "/catalog.sqlite"),
            backends: backends.map { Backend(name: $0.name, store: $0.store, isDisasterRecovery: true) },
            keys: KeyDirectory(path: keysPath), archiveSettings: ArchiveSettings(frameByteCount: 64 << 10, level: 1),
            memoryBudgetByteCount: 32 << 20, stateDirectory: folder, clock: clock, log: log)
    }

    private static func agent(
        _ engine: Engine, _ disks: [AutomaticDisk], _ settings: AgentSettings, _ shared: ResourceName?, _ life: UInt64
    ) throws -> Agent {
        try Agent(
            engine, disks, settings, sharing: shared.map { try engine.backend($0) },
            owner: ProcessIdentity(process: 1, startTicks: life, bootIdentifier: "simulated"),
            isAlive: { $0.startTicks == life })
    }

    /// Keeps what a kill at this moment would leave on the disk.
    var keepState: @Sendable () -> Void {
        { [folder] in
            for ending in ["", "-wal"] {
                let kept = folder + "/kept\(ending)"
                try? FileManager.default.removeItem(atPath: kept)
                try? FileManager.default.copyItem(atPath: folder + "/catalog.sqlite\(ending)", toPath: kept)
            }
        }
    }

    /// As after `kill -9`, and a new start: what was under way is lost. With `asKept` the disk is as it was at `keepState`.
    func restart(asKept: Bool = false) throws {
        running = []
        if !asKept { keepState() }
        engine.close()
        for ending in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: folder + "/catalog.sqlite\(ending)")
            try? FileManager.default.moveItem(
                atPath: folder + "/kept\(ending)", toPath: folder + "/catalog.sqlite\(ending)")
        }
        life += 1
        engine = try Self.engine(folder, backends, keysPath, clock)
        try orphanJournal()
        _ = try engine.cleanUpAfterCrash()
        agent = try Self.agent(engine, disks, settings, sharesWork ? backends[0].name : nil, life)
    }

    /// The journal names this process, which goes on living.
    private func orphanJournal() throws {
        for entry in try engine.catalog.uploads() {
            try engine.catalog.endUpload(try #require(entry.id))
            _ = try engine.catalog.beginUpload(
                UploadRecord(
                    backend: entry.backend, archiveKey: entry.archiveKey, manifestKey: entry.manifestKey,
                    uploadIdentifier: entry.uploadIdentifier, startedAt: entry.startedAt, ownerProcess: 1,
                    ownerStartTicks: 1, ownerBootIdentifier: "another boot", phase: entry.phase))
        }
    }
}

/// When runs began: a simulated disk is read at the moment at which its run began, though the run is performed where it ends.
final class Beginnings: Sendable {
    private let times = Mutex<[DiskName: Int64]>([:])

    subscript(disk: DiskName) -> Int64? {
        get { times.withLock { $0[disk] } }
        set { times.withLock { $0[disk] = newValue } }
    }
}

/// A store in memory whose weather the simulation makes.
final class SimulatedBackend: Sendable {
    let name: ResourceName
    let memory: InMemoryStore
    let store: FaultInjectingStore

    init(_ name: String) throws {
        self.name = try ResourceName(name)
        memory = InMemoryStore()
        store = FaultInjectingStore(memory)
    }

    /// The same store, as another host reaches it.
    init(sharing other: SimulatedBackend) {
        (name, memory) = (other.name, other.memory)
        store = FaultInjectingStore(memory)
    }
}
