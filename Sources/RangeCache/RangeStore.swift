internal import Logging
internal import Synchronization
internal import SystemIO
internal import Workers

/// The machinery of the cache: its table, its threads, its states. What it promises is written at `RangeCache`.
///
/// Locks are never nested, and none is held across an operation of the disk.
final class RangeStore: Sendable {
    struct Settings: Sendable {
        /// Nil: the larger of 5 % and 1 GiB of the file system.
        var freeSpaceFloorByteCount: UInt64?
        var readTimeoutMilliseconds = 500
        /// How long the cache steps aside after a failure.
        var retryMilliseconds = 30_000
        /// How often the free space is looked at while nothing else happens.
        var maintenanceMilliseconds = 30_000
        var readerThreadCount = 2
        /// Ciphertext read from the disk, between reader thread and caller.
        var bounceByteCount = 8 << 20
        /// Ciphertext waiting to be written.
        var insertByteCount = 8 << 20
    }

    enum Phase: Sendable, Hashable {
        case opening, on
        case suspended(String)
        case closed
    }

    struct Condition: Sendable {
        var phase = Phase.opening
        var disk: (any CacheDisk)?
        var retryAt = ContinuousClock.now
        var isReviving = true
        /// Writes failed: nothing is inserted until then, reads go on.
        var insertsPausedUntil: ContinuousClock.Instant?
        /// What has been logged since a write last succeeded.
        var logged: Set<String> = []
    }

    struct Reads: Sendable {
        var queue = JobQueue<ReadJob>()
        var runningCount = 0
        var isClosed = false
    }

    struct Writes: Sendable {
        var queue = JobQueue<WriteJob>()
        var isBusy = true
        var isClosed = false
        /// What is queued is left undone.
        var isAborted = false
    }

    let geometry: CacheGeometry
    let settings: Settings
    let counters = RangeCacheCounters()
    let table: Mutex<SlotTable>
    let condition = Monitor(Condition())
    let reads = Monitor(Reads())
    let writes = Monitor(Writes())
    let bounce: BufferPool
    let inserts: BufferPool
    let log: Logger
    let openDisk: @Sendable () throws(Errno) -> any CacheDisk
    private let livingThreads: Monitor<Int>

    init(
        geometry: CacheGeometry, settings: Settings, log: Logger,
        openDisk: @escaping @Sendable () throws(Errno) -> any CacheDisk
    ) {
        self.geometry = geometry
        self.settings = settings
        self.log = log
        self.openDisk = openDisk
        table = Mutex(SlotTable(slotCount: geometry.slotCount))
        bounce = BufferPool(capacityByteCount: settings.bounceByteCount)
        inserts = BufferPool(capacityByteCount: settings.insertByteCount)
        livingThreads = Monitor(settings.readerThreadCount + 1)
    }

    /// Starts the threads; the writer opens the disk first. They hold the store until `close`.
    func start() {
        NativeThread(name: "cache-writer") {
            self.runWriter()
            self.livingThreads.withLock { $0 -= 1 }
        }.detach()
        for index in 0..<settings.readerThreadCount {
            NativeThread(name: "cache-reader-\(index)") {
                self.runReader()
                self.livingThreads.withLock { $0 -= 1 }
            }.detach()
        }
    }

    /// Ends the threads, after what is queued to be written. False: some thread still hangs in an operation of the disk after
    /// that time; it holds its file and the lock until the operation returns.
    func close(milliseconds: Int) -> Bool {
        let wasOn = condition.withLock { condition in
            defer { condition.phase = .closed }
            return condition.phase == .on
        }
        reads.withLock { $0.isClosed = true }
        writes.withLock { writes in
            writes.isClosed = true
            if !wasOn { writes.isAborted = true }
        }
        let ended = livingThreads.wait(milliseconds: milliseconds) { $0 == 0 ? () : nil } != nil
        if !ended { writes.withLock { $0.isAborted = true } }
        condition.withLock { $0.disk = nil }
        return ended
    }

    // MARK: States

    /// The disk while the cache is on; nil otherwise. Queues the attempt to come back when its time has come.
    func diskInUse() -> (any CacheDisk)? {
        let (disk, revives) = condition.withLockQuietly { condition -> ((any CacheDisk)?, Bool) in
            switch condition.phase {
            case .on: return (condition.disk, false)
            case .suspended where !condition.isReviving && ContinuousClock.now >= condition.retryAt:
                condition.isReviving = true
                return (nil, true)
            case .suspended, .opening, .closed: return (nil, false)
            }
        }
        if revives { submit(.revive) }
        return disk
    }

    /// Turns the cache off for a while.
    func suspend(_ reason: String) {
        let isNews = condition.withLock { condition in
            guard condition.phase == .on || condition.phase == .opening else { return false }
            return Self.suspend(&condition, reason, settings.retryMilliseconds)
        }
        if isNews { log.warning("the range cache is not used for now: \(reason)") }
    }

    /// Leaves the cache asleep after a vain attempt to open it or to come back.
    func stayAside(_ reason: String, level: Logger.Level = .warning) {
        let isNews = condition.withLock { condition in
            guard condition.phase != .closed else { return false }
            return Self.suspend(&condition, reason, settings.retryMilliseconds)
        }
        if isNews { log.log(level: level, "the range cache is not used for now: \(reason)") }
    }

    private static func suspend(_ condition: inout Condition, _ reason: String, _ milliseconds: Int) -> Bool {
        condition.phase = .suspended(reason)
        condition.retryAt = .now + .milliseconds(milliseconds)
        condition.isReviving = false
        return condition.logged.insert(reason).inserted
    }

    /// Stops inserting for a while; what is there is still read.
    func pauseInserts(_ reason: String) {
        let isNews = condition.withLock { condition in
            condition.insertsPausedUntil = .now + .milliseconds(settings.retryMilliseconds)
            return condition.logged.insert(reason).inserted
        }
        if isNews { log.warning("nothing is written to the range cache for now: \(reason)") }
    }

    var takesInserts: Bool {
        condition.withLockQuietly { condition in
            guard condition.phase == .on else { return false }
            guard let pause = condition.insertsPausedUntil else { return true }
            guard ContinuousClock.now >= pause else { return false }
            condition.insertsPausedUntil = nil
            return true
        }
    }

    func submit(_ job: WriteJob) {
        writes.withLock { writes in
            if !writes.isClosed { writes.queue.append(job) }
        }
    }

    // MARK: For the owner

    /// Waits until the disk is open, or cannot be opened.
    func waitUntilOpened(milliseconds: Int) -> Bool {
        condition.wait(milliseconds: milliseconds) { $0.phase == .opening ? nil : () } != nil
    }

    /// Waits until all that is queued is written.
    func waitUntilIdle(milliseconds: Int) -> Bool {
        writes.wait(milliseconds: milliseconds) { $0.queue.isEmpty && !$0.isBusy ? () : nil } != nil
    }

    func status(capacityByteCount: UInt64) -> RangeCacheStatus {
        let state: RangeCacheStatus.State =
            switch condition.withLockQuietly({ $0.phase }) {
            case .opening: .opening
            case .on: .on
            case .suspended(let reason): .suspended(reason)
            case .closed: .closed
            }
        return RangeCacheStatus(
            state: state, capacityByteCount: capacityByteCount,
            slotByteCount: geometry.dataByteCount, slotCount: geometry.slotCount,
            usedSlotCount: table.withLock { $0.usedSlotCount }, hitCount: counters.hits.value,
            partialHitCount: counters.partialHits.value, missCount: counters.misses.value,
            servedByteCount: counters.servedBytes.value, insertedByteCount: counters.insertedBytes.value,
            evictedByteCount: counters.evictedBytes.value, badBlockCount: counters.badBlocks.value,
            timeoutCount: counters.timeouts.value, diskErrorCount: counters.diskErrors.value,
            droppedInsertCount: counters.droppedInserts.value)
    }
}
