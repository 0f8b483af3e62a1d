internal import Synchronization
internal import Workers

/// The way to one backend: its threads, its memory for ciphertext, and what was measured of it.
final class BackendLink: Sendable {
    private struct State {
        var estimate = LinkEstimate()
        /// When bytes last came.
        var lastProgress = Duration.zero
        /// Requests some of whose frames are fetched and wait, the oldest first.
        var parked: [FetchRequest] = []
    }

    private static let origin = ContinuousClock.now
    /// Time since the process began to read.
    static var now: Duration { ContinuousClock.now - origin }

    let fetchers: WorkerPool
    let memory: FetchMemory
    /// How long a reader waits while nothing comes.
    let patience: Duration
    private let state = Mutex(State())

    init(fetchers: WorkerPool, memory: FetchMemory, patience: Duration) {
        self.fetchers = fetchers
        self.memory = memory
        self.patience = patience
    }

    /// Runs a read of the store and measures it. Blocks.
    func measuring(byteCount: Int, _ read: () throws -> Void) throws {
        let start = Self.now
        state.withLock { $0.estimate.began(at: start) }
        do {
            try read()
        } catch {
            state.withLock { $0.estimate.ended(startedAt: start, at: Self.now, byteCount: nil) }
            throw error
        }
        state.withLock { state in
            let now = Self.now
            state.estimate.ended(startedAt: start, at: now, byteCount: byteCount)
            state.lastProgress = now
        }
    }

    var lastProgress: Duration { state.withLock { $0.lastProgress } }

    /// Archive bytes that a sequential reader should have on their way, or fetched before it.
    func depth(atLeast floor: Int) -> Int {
        state.withLock { $0.estimate.depth(atLeast: floor, atMost: memory.depthLimit) }
    }

    // MARK: What is fetched and waits

    func noteParked(_ request: FetchRequest) {
        state.withLock { state in
            while let first = state.parked.first, !first.hasParked { state.parked.removeFirst() }
            state.parked.append(request)
        }
    }

    /// The request that has waited longest, which leaves the list.
    func takeOldestParked() -> FetchRequest? {
        state.withLock { $0.parked.isEmpty ? nil : $0.parked.removeFirst() }
    }

    /// The requests of one disk, which leave the list.
    func takeParked(ofDisk serial: UInt64) -> [FetchRequest] {
        state.withLock { state in
            let found = state.parked.filter { $0.disk.serial == serial }
            state.parked.removeAll { $0.disk.serial == serial }
            return found
        }
    }
}
