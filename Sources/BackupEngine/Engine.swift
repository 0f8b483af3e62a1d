package import AgeFormat
package import Archive
package import BackupNames
package import Catalog
internal import Glibc
package import Logging
package import OrgKeys
package import RangeCache
internal import Storage
package import Workers

/// The wall clock, replaceable in tests.
package protocol WallClock: Sendable {
    var secondsSince1970: Int64 { get }
}

package struct SystemClock: WallClock {
    package init() {}
    package var secondsSince1970: Int64 { Int64(time(nil)) }
}

/// What an org is configured with, beside its key.
package struct OrgSettings: Sendable {
    /// Further keys that every archive of the org is encrypted to.
    package var recoveryRecipients: [AgeRecipient]
    /// When something is overdue; nil: as for all others.
    package var thresholds: StatusThresholds?
    /// Whose its folders are in a mount; nil: as the mount says.
    package var access: OrgAccess?

    package init(
        recoveryRecipients: [AgeRecipient] = [], thresholds: StatusThresholds? = nil, access: OrgAccess? = nil
    ) {
        self.recoveryRecipients = recoveryRecipients
        self.thresholds = thresholds
        self.access = access
    }
}

/// How the memory budget is shared out. The figures add up to less than the budget, for the process itself, its threads'
/// stacks, the buffers of libfuse and SQLite need the rest.
package struct MemoryPlan: Sendable, Hashable {
    /// All backups under way together.
    package let pipelineByteCount: Int
    /// Decoded frames, those being read among them.
    package let frameCacheByteCount: Int
    /// Ciphertext between fetch and decode: half of it is what one reader may have ahead, more than twice what a link of 1 Gbit/s
    /// and 50 ms holds.
    package let fetchByteCount: Int
    /// Parts of uploads until they are stored.
    package let uploadByteCount: Int
    /// Ciphertext that each backend has for itself on top, for frames somebody waits for; taken only while another backend
    /// hangs.
    package let fetchReserveByteCount: Int

    package init(budgetByteCount: Int) {
        pipelineByteCount = budgetByteCount / 8 * 2
        frameCacheByteCount = budgetByteCount / 8 * 2
        uploadByteCount = budgetByteCount / 4
        fetchByteCount = budgetByteCount / 8
        fetchReserveByteCount = max(2 << 20, budgetByteCount / 64)
    }
}

/// How the catalog is kept up to date and safe.
package struct CatalogCareSettings: Sendable, Hashable {
    /// Copies kept at each backend; 0 makes none.
    package var copyCount = 8
    /// How often a mount looks for other hosts' backups; 0: never.
    package var refreshSeconds = 300

    package init() {}
}

/// Everything a backup, a restore or a reader needs, put together once for each process.
///
/// Owns the worker threads and the memory they work in; `close` ends them. Any thread may use it.
package final class Engine: Sendable {
    package static let toolVersion = "holdfast 0.1.0"

    package let catalog: Catalog
    package let backends: [ResourceName: Backend]
    package let keys: KeyDirectory
    package let orgs: [ResourceName: OrgSettings]
    /// When something is overdue, of orgs that say nothing else.
    package let thresholds: StatusThresholds
    package let archiveSettings: ArchiveSettings
    package let memory: MemoryPlan
    /// Ranges of remote archives on the disk; nil keeps none.
    package let rangeCache: RangeCache?
    /// For journals of what is under way; nil keeps none.
    package let stateDirectory: String?
    /// Local copies of foreign archives, for reading at random; nil without a state folder.
    let foreignCopies: ForeignCopies?
    package let catalogCare: CatalogCareSettings
    package let clock: any WallClock
    package let log: Logger
    /// CPU work.
    package let workers: WorkerPool
    /// Reads of each backend, which block.
    private let fetchers: [ResourceName: WorkerPool]
    package let decoders = FrameDecoderPool()
    /// Ciphertext between fetch and decode.
    package let fetchBuffers: BufferPool
    let replicaNotes: ReplicaNotes
    /// Memory not yet promised to a backup under way.
    let pipelineMemory: Monitor<Int>

    package init(
        catalog: Catalog, backends: [Backend], keys: KeyDirectory, orgs: [ResourceName: OrgSettings] = [:],
        thresholds: StatusThresholds = .standard, archiveSettings: ArchiveSettings = ArchiveSettings(),
        memoryBudgetByteCount: Int = 256 << 20,
        rangeCache: RangeCache? = nil, stateDirectory: String? = nil, foreignCopyByteCount: UInt64 = 20 << 30,
        catalogCare: CatalogCareSettings = CatalogCareSettings(),
        clock: any WallClock = SystemClock(), log: Logger
    ) {
        self.catalog = catalog
        self.backends = Dictionary(backends.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.keys = keys
        self.orgs = orgs
        self.thresholds = thresholds
        self.archiveSettings = archiveSettings
        self.rangeCache = rangeCache
        self.stateDirectory = stateDirectory
        foreignCopies = stateDirectory.map {
            ForeignCopies(path: $0 + "/foreign", capacityByteCount: foreignCopyByteCount, log: log)
        }
        self.catalogCare = catalogCare
        self.clock = clock
        self.log = log
        memory = MemoryPlan(budgetByteCount: memoryBudgetByteCount)
        workers = WorkerPool()
        replicaNotes = ReplicaNotes(log: log)
        fetchers = self.backends.mapValues { WorkerPool(threadCount: $0.fetchThreadCount) }
        fetchBuffers = BufferPool(capacityByteCount: max(memory.fetchByteCount, 4 * archiveSettings.frameByteCount))
        pipelineMemory = Monitor(max(memory.pipelineByteCount, PipelineLease.minimum(archiveSettings)))
    }

    /// Ends every request to a store with an error, those under way and those that still come: nobody waits for one any more.
    package func interruptStores() {
        foreignCopies?.giveUp()
        for backend in backends.values { backend.store.interrupt() }
    }

    /// Ends every wait for a local copy of a foreign archive, and gives up what is being made of one.
    package func giveUpLocalCopies() { foreignCopies?.giveUp() }

    /// Ends the threads, after what is queued. Nothing may be asked of the engine any more.
    package func close() {
        foreignCopies?.giveUp()
        // Whoever waits for a store is told, so that the threads end.
        for backend in backends.values { backend.store.close() }
        foreignCopies?.close()
        closeThreads()
        rangeCache?.close()
    }

    private func closeThreads() {
        for pool in fetchers.values { pool.close() }
        workers.close()
    }

    /// The same backends, keys and orgs with another catalog, while `body` runs.
    func with<Result>(_ other: Catalog, _ body: (Engine) throws -> Result) rethrows -> Result {
        let engine = Engine(
            catalog: other, backends: Array(backends.values), keys: keys, orgs: orgs, thresholds: thresholds,
            archiveSettings: archiveSettings, catalogCare: catalogCare, clock: clock, log: log)
        defer { engine.closeThreads() }
        return try body(engine)
    }

    package func backend(_ name: ResourceName) throws(EngineError) -> Backend {
        guard let backend = backends[name] else {
            throw EngineError(.notFound, "no backend is named \"\(name)\"")
        }
        return backend
    }

    /// The threads that read a backend; each of them may block for as long as its store takes to give up.
    package func fetchers(of backend: ResourceName) -> WorkerPool {
        guard let pool = fetchers[backend] else {
            preconditionFailure("internal error: a read of a backend that is not configured")
        }
        return pool
    }

    /// The key of an org, translated into our errors.
    package func key(of org: ResourceName) throws(EngineError) -> OrgKey {
        do throws(KeyError) {
            return try keys.key(for: org)
        } catch {
            throw EngineError(error, subject: "the key of org \"\(org)\"")
        }
    }

    /// Whom archives of an org are encrypted to: its current key, and the recovery recipients of the configuration.
    package func recipients(of key: OrgKey) -> [AgeRecipient] {
        let recovery = orgs[key.org]?.recoveryRecipients ?? []
        return [key.recipient] + recovery.filter { $0 != key.recipient }
    }

    /// The key of an org that can also read.
    package func readingKey(of org: ResourceName) throws(EngineError) -> OrgKey {
        let key = try key(of: org)
        guard key.canRead else {
            throw EngineError(.noKey, "this host holds a write-only key of org \"\(org)\"; it cannot read backups")
        }
        return key
    }
}

/// Memory promised to one backup under way; given back when the last reference is gone.
final class PipelineLease: Sendable {
    let byteCount: Int
    private let memory: Monitor<Int>

    /// A window full of partial frames, and two frames in the pipeline with room for their compressed form.
    static func minimum(_ settings: ArchiveSettings) -> Int {
        (FrameWindow.frameLimit + 5) * (settings.frameByteCount + (64 << 10))
    }

    /// Takes half of what is left, so that later ones get their share; nil when not even the minimum is there.
    init?(from memory: Monitor<Int>, settings: ArchiveSettings) {
        let minimum = Self.minimum(settings)
        let enough = 40 * settings.frameByteCount
        let taken: Int? = memory.withLock { free in
            guard free >= minimum else { return nil }
            let share = min(enough, max(minimum, free / 2))
            free -= share
            return share
        }
        guard let taken else { return nil }
        byteCount = taken
        self.memory = memory
    }

    deinit {
        let count = byteCount
        memory.withLock { $0 += count }
    }
}
