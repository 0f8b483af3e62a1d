internal import Filesystem
internal import Synchronization

/// The calls in staging that are under way, by number: an interrupt may come for one that is over, and then finds none. The other
/// rules are those of `PendingReplies`; here the thread that received the request answers it, after the call to register.
final class StagedCalls: Sendable {
    private struct State {
        var calls: [UInt: (StagedCall, handle: UInt64)] = [:]
        /// Never 0, which as a pointer would be nil.
        var next: UInt = 1
    }

    private let state = Mutex(State())

    func add(_ call: StagedCall, _ handle: UInt64) -> UInt {
        state.withLock { state in
            defer { state.next += 1 }
            state.calls[state.next] = (call, handle)
            return state.next
        }
    }

    func find(_ number: UInt) -> (StagedCall, handle: UInt64)? { state.withLock { $0.calls[number] } }

    func remove(_ number: UInt) { state.withLock { _ = $0.calls.removeValue(forKey: number) } }
}
