internal import Synchronization
internal import Workers

/// All reads that are not answered yet: so that none waits for ever, and none outlives the file system.
///
/// | state | a new read | those that wait |
/// |---|---|---|
/// | open | is watched | end with ETIMEDOUT when their backend gave nothing for its patience |
/// | closed | ends at once with an error | have been ended with it |
///
/// One thread looks after them each second as long as there are any.
final class PendingReads: Sendable {
    private struct State {
        var reads: [ObjectIdentifier: PendingRead] = [:]
        var isClosed = false
        var isWatched = false
    }

    /// For tests; otherwise that of each backend counts.
    private let patience: Duration?
    private let tickMilliseconds: Int
    private let state = Monitor(State())

    /// Told of every read that failed, but not of those that were interrupted.
    private let failed: @Sendable (any Error) -> Void

    init(
        patience: Duration? = nil, tickMilliseconds: Int = 1000,
        failed: @escaping @Sendable (any Error) -> Void = { _ in }
    ) {
        self.patience = patience
        self.tickMilliseconds = tickMilliseconds
        self.failed = failed
    }

    var count: Int { state.withLockQuietly { $0.reads.count } }

    func add(_ read: PendingRead) {
        let (isClosed, mustWatch) = state.withLockQuietly { state in
            guard !state.isClosed else { return (true, false) }
            state.reads[ObjectIdentifier(read)] = read
            defer { state.isWatched = true }
            return (false, !state.isWatched)
        }
        if isClosed { read.end(Self.closing) }
        if mustWatch { NativeThread(name: "read-watch") { self.watch() }.detach() }
    }

    func ended(_ read: PendingRead, _ outcome: PendingRead.Outcome) {
        if case .failure(let error) = outcome, (error as? FileSystemError)?.code != .interrupted { failed(error) }
        state.withLockQuietly { _ = $0.reads.removeValue(forKey: ObjectIdentifier(read)) }
    }

    /// Ends all reads, and every one that still comes.
    func close() {
        let reads = state.withLock { state in
            state.isClosed = true
            return Array(state.reads.values)
        }
        for read in reads { read.end(Self.closing) }
    }

    static var closing: PendingRead.Outcome {
        .failure(FileSystemError(.inputOutput, "the file system is ending"))
    }

    /// Ends when nothing was pending for a tick.
    private func watch() {
        while true {
            let isClosed: Void? = state.wait(milliseconds: tickMilliseconds) { $0.isClosed ? () : nil }
            let reads: [PendingRead]? = state.withLockQuietly { state in
                guard isClosed == nil, !state.reads.isEmpty else {
                    state.isWatched = false
                    return nil
                }
                return Array(state.reads.values)
            }
            guard let reads else { return }
            let now = BackendLink.now
            for read in reads where now - max(read.started, read.link.lastProgress) > (patience ?? read.link.patience) {
                read.end(.failure(FileSystemError(.timedOut, "the backend gives nothing")))
            }
        }
    }
}
