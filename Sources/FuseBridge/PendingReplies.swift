internal import CFuse
internal import Filesystem
internal import Synchronization
internal import Workers

/// Requests that are answered later, by another thread than the one that received them, or interrupted by the kernel.
///
/// The rules of libfuse 3.14 (`fuse_req_interrupt_func`, `find_interrupted`, `fuse_free_req`) and how they are kept:
///
/// | rule | kept because |
/// |---|---|
/// | the callback runs with the request's lock held; the call that registers it takes that lock | it is never called again to take the callback back: the reply does that by itself |
/// | the callback may run inside the registering call; an answer there would free the locked request | the read has no handler until that call has returned: an interrupt before is kept in the read |
/// | nobody else may answer before the registering call has returned, for the same reason | as above |
/// | an answer from within the callback later on is sound | libfuse counts the request up while it calls back |
/// | the callback may still run when the request was answered elsewhere | it is given a number and not a pointer: a read that is gone is not found |
/// | no answer after the session is destroyed | a read leaves the table after its answer; `waitUntilEmpty` before the session goes |
final class PendingReplies: Sendable {
    private struct State {
        var reads: [UInt: PendingRead] = [:]
        /// Never 0, which as a pointer would be nil.
        var next: UInt = 1
    }

    private let state = Monitor(State())

    /// Answers `reply` when `read` ends. The reply moves into the read's handler.
    func answer(_ reply: consuming FuseReply, when read: PendingRead) {
        let number = state.withLockQuietly { state in
            defer { state.next += 1 }
            state.reads[state.next] = read
            return state.next
        }
        reply.onInterrupt(number) { request, data in
            guard let request, let data else { return }
            let context = Unmanaged<FuseContext>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
            context.pending.interrupt(UInt(bitPattern: data))
        }
        let holder = Holder(reply)
        read.whenDone { [self] outcome in
            holder.answer(outcome)
            state.withLock { _ = $0.reads.removeValue(forKey: number) }
        }
    }

    /// Waits until every answer is sent. All reads must have been told to end.
    func waitUntilEmpty() {
        state.wait { $0.reads.isEmpty ? () : nil }
    }

    private func interrupt(_ number: UInt) {
        state.withLockQuietly { $0.reads[number] }?.interrupt()
    }

    /// A reply where a closure can hold it; it is taken out to be sent.
    private final class Holder: Sendable {
        private struct Slot: ~Copyable { var reply: FuseReply? }

        private let slot: Mutex<Slot>

        init(_ reply: consuming FuseReply) { slot = Mutex(Slot(reply: reply)) }

        func answer(_ outcome: PendingRead.Outcome) {
            guard let reply = slot.withLock({ $0.reply.take() }) else { return }
            switch outcome {
            case .success(let slices): reply.slices(slices)
            case .failure(let error): reply.error(error)
            }
        }
    }
}
