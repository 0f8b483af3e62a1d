import Glibc

/// The fixed set of threads on which all CPU work runs: compression, decompression, ciphers and hashes.
///
/// Jobs of a higher priority are taken first, jobs of one priority in the order they came. A job must not wait for another
/// job, nor for a disk or a network: then the pool could stand still.
package final class WorkerPool: Sendable {
    package enum Priority: Int, CaseIterable, Sendable {
        /// What frees memory or lets a waiting reader go on: sealing in order, a frame somebody waits for.
        case urgent
        /// The bulk of a backup, a restore or a verification.
        case ordinary
        /// What might be needed soon.
        case readAhead
    }

    private struct Queues {
        var jobs: [JobQueue] = Array(repeating: JobQueue(), count: Priority.allCases.count)
        /// Jobs that run now; they may still submit others.
        var running = 0
        var isClosed = false
    }

    /// A first-in-first-out queue that gives its storage back only in bulk.
    private struct JobQueue {
        var items: [(@Sendable () -> Void)?] = []
        var head = 0

        mutating func append(_ job: @escaping @Sendable () -> Void) { items.append(job) }

        mutating func popFirst() -> (@Sendable () -> Void)? {
            guard head < items.count else { return nil }
            let job = items[head]
            items[head] = nil
            head += 1
            if head == items.count {
                items.removeAll(keepingCapacity: true)
                head = 0
            }
            return job
        }
    }

    package let threadCount: Int
    private let queues = Monitor(Queues())
    private let threads: Monitor<[NativeThread]>

    /// Starts `threadCount` threads; by default one for each processor this process may use.
    package init(threadCount: Int = WorkerPool.processorCount) {
        self.threadCount = max(1, threadCount)
        threads = Monitor([])
        let queues = self.queues
        let started = (0..<self.threadCount).map { index in
            NativeThread(name: "worker-\(index)") {
                while let job = queues.waitQuietly(until: Self.nextJob) {
                    job()
                    let isClosed = queues.withLockQuietly { queues in
                        queues.running -= 1
                        return queues.isClosed
                    }
                    // Those that wait for the last job to end.
                    if isClosed { queues.withLock { _ in } }
                }
            }
        }
        threads.withLock { $0 = started }
    }

    /// Puts a job into the queue; it starts as soon as a thread is free.
    package func submit(_ priority: Priority, _ job: @escaping @Sendable () -> Void) {
        // One thread for one job: a pool that reads a distant store has many that wait.
        queues.withLockWakingOne { queues in
            precondition(
                !queues.isClosed || queues.running > 0, "internal error: a job was submitted to a closed worker pool")
            queues.jobs[priority.rawValue].append(job)
        }
    }

    /// Runs what is queued, and what those jobs submit, and ends the threads. Nobody else may submit any more.
    package func close() {
        queues.withLock { $0.isClosed = true }
        let ending = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in ending { thread.join() }
    }

    /// `.some(nil)` when the pool is closed and empty, nil when there is nothing to do yet.
    private static func nextJob(_ queues: inout Queues) -> (@Sendable () -> Void)?? {
        for priority in Priority.allCases {
            if let job = queues.jobs[priority.rawValue].popFirst() {
                queues.running += 1
                return .some(job)
            }
        }
        return queues.isClosed && queues.running == 0 ? .some(nil) : nil
    }

    /// The processors that are on line, at least one.
    package static var processorCount: Int {
        max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }
}

/// Jobs that run one at a time and in order, on the threads of a pool: a running hash, the sealing of chunks.
package final class SerialLane: Sendable {
    private struct State {
        var jobs: [@Sendable () -> Void] = []
        var isRunning = false
    }

    private let pool: WorkerPool
    private let priority: WorkerPool.Priority
    private let state = Monitor(State())

    package init(on pool: WorkerPool, priority: WorkerPool.Priority) {
        self.pool = pool
        self.priority = priority
    }

    /// Queues a job behind those submitted before.
    package func submit(_ job: @escaping @Sendable () -> Void) {
        let mustStart = state.withLockQuietly { state in
            state.jobs.append(job)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if mustStart { pool.submit(priority) { self.runNext() } }
    }

    /// Waits until all jobs submitted so far have run. Not to be called on a thread of the pool.
    package func drain() {
        state.wait { $0.isRunning ? nil : () }
    }

    /// Runs one job, then queues again, so that lanes and other work of one priority take turns.
    private func runNext() {
        let job = state.withLockQuietly { $0.jobs.removeFirst() }
        job()
        let goesOn = state.withLock { state in
            state.isRunning = !state.jobs.isEmpty
            return state.isRunning
        }
        if goesOn { pool.submit(priority) { self.runNext() } }
    }
}
