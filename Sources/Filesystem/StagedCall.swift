internal import BackupEngine
internal import Workers

/// A write, `close` or `fsync` in staging, which may wait for the backend; and what is heard of its caller meanwhile.
///
/// The kernel reports one interrupt for each request, whatever the signal. So from then on the caller's signals are looked at:
///
/// | the caller's signals | the call |
/// |---|---|
/// | end it for certain | the backup that it writes is cancelled, and everything that waits for it with it |
/// | ask it to end (a handler for SIGINT, SIGTERM, SIGHUP or SIGQUIT) | a write that waits ends short, or with EINTR; it can be repeated |
/// | say nothing of ending | goes on |
package final class StagedCall: Sendable {
    private struct State {
        var isOver = false
        var hasGivenUp = false
        /// The end of the caller's process is the end of the backup, for it writes it.
        var isWriters = false
    }

    private static let intervalMilliseconds = 100

    /// The one that calls, 0 where the kernel cannot tell.
    package let thread: Int32
    private let state = Monitor(State())

    package init(thread: Int32) { self.thread = thread }

    /// Whether a wait that can be given up should be.
    var hasGivenUp: Bool { state.withLockQuietly { $0.hasGivenUp } }

    /// The caller's process writes the backup.
    func noteWriter() { state.withLockQuietly { $0.isWriters = true } }

    /// It has been answered.
    package func end() { state.withLock { $0.isOver = true } }

    /// Looks at the caller until the call is over; on a thread of its own.
    func watch(cancel: @escaping @Sendable () -> Void) {
        NativeThread(name: "interrupt") { [self] in
            while true {
                switch EndWish.ofThread(thread) {
                case .certain:
                    let isWriters = state.withLockQuietly { state in
                        state.hasGivenUp = true
                        return state.isWriters
                    }
                    if isWriters { return cancel() }
                case .asked: state.withLockQuietly { $0.hasGivenUp = true }
                case .none: break
                }
                let isOver: Void? = state.wait(milliseconds: Self.intervalMilliseconds) { $0.isOver ? () : nil }
                if isOver != nil { return }
            }
        }.detach()
    }
}
