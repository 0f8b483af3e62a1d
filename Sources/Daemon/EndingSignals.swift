internal import Glibc
internal import Synchronization
internal import Workers

/// SIGTERM, SIGINT and SIGHUP, which end a mount in good order.
///
/// They are blocked and come to one thread that waits for them. A mask is inherited, so this must be made before any other
/// thread is: a thread that lets SIGTERM through ends the process on the spot, and leaves a dead mount behind.
package final class EndingSignals: Sendable {
    private let handler = Mutex<(@Sendable (Int32) -> Void)?>(nil)

    /// Until a handler is set, such a signal ends the process, as it would without this.
    package init() {
        signal(SIGPIPE, SIG_IGN)
        // Whatever the parent had blocked: nothing else is.
        var mask = Self.signals
        pthread_sigmask(SIG_SETMASK, &mask, nil)
        let waiter = NativeThread(name: "signals") { [self] in
            while true {
                var awaited = Self.signals
                var received: Int32 = 0
                guard sigwait(&awaited, &received) == 0 else { continue }
                guard let act = handler.withLock({ $0 }) else { _exit(128 + received) }
                act(received)
            }
        }
        waiter.detach()
    }

    /// What is done at each such signal, on a thread of its own.
    package func setHandler(_ act: @escaping @Sendable (Int32) -> Void) {
        handler.withLock { $0 = act }
    }

    private static var signals: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&signals, signal) }
        return signals
    }
}
