internal import Synchronization

/// A read that could not be answered at once. No thread waits for it: it ends exactly once, by whoever comes first of
///
/// | ended by | with |
/// |---|---|
/// | the last frame it needs (or the archive's bytes) | the bytes |
/// | a failed load | its error |
/// | `interrupt` | `.interrupted`; a fetch under way goes on for the cache, one that is queued is dropped |
/// | `PendingReads`, when its backend gives nothing for a minute | `.timedOut` |
/// | `PendingReads`, when the file system ends | `.inputOutput` |
///
/// | state | result | handler |
/// |---|---|---|
/// | waiting | none | none or one |
/// | ended, unheard | one | none: `whenDone` gets it at once |
/// | over | given to the handler | gone |
package final class PendingRead: Sendable {
    package typealias Outcome = Result<[ReadSlice], any Error>

    private struct State {
        var outcome: Outcome?
        var handler: (@Sendable (Outcome) -> Void)?
    }

    /// When it began, by the clock of the links.
    let started = BackendLink.now
    let link: BackendLink
    private let all: PendingReads
    private let state = Mutex(State())
    private let hasEnded = Atomic(false)

    init(over link: BackendLink, of all: PendingReads) {
        self.link = link
        self.all = all
    }

    /// Has the outcome given to `handler`, once: on this thread if it is there, else on the thread that ends the read.
    package func whenDone(_ handler: @escaping @Sendable (Outcome) -> Void) {
        let outcome: Outcome? = state.withLock { state in
            guard let outcome = state.outcome else {
                state.handler = handler
                return nil
            }
            state.outcome = nil
            return outcome
        }
        if let outcome { handler(outcome) }
    }

    /// The one who asked does not want to wait any longer. Any thread, at any time.
    package func interrupt() { end(.failure(FileSystemError(.interrupted, "the read was interrupted"))) }

    var isOver: Bool { hasEnded.load(ordering: .acquiring) }

    /// Ends the read, unless it has ended.
    func end(_ outcome: Outcome) {
        guard !hasEnded.exchange(true, ordering: .acquiringAndReleasing) else { return }
        all.ended(self, outcome)
        let handler = state.withLock { state in
            if state.handler == nil { state.outcome = outcome }
            defer { state.handler = nil }
            return state.handler
        }
        handler?(outcome)
    }
}

/// How a read begins: with its answer, or with the promise of one.
package enum ReadStart: Sendable {
    case ready([ReadSlice])
    case pending(PendingRead)
}
