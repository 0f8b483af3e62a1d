internal import CCurl
internal import Glibc
internal import Synchronization
internal import Workers

/// HTTP/1.1 by libcurl: any number of callers block, one thread drives all connections.
///
/// | who | owns |
/// |---|---|
/// | the driving thread | the multi handle, every easy handle, and each exchange from its start to its end |
/// | the caller, blocked in `perform` | the memory of the request's and the answer's body |
/// | the inbox, behind its lock | what is to be started or cancelled |
///
/// An exchange ends exactly once: answered, failed, or cancelled; its caller wakes only then, so that the driving thread never
/// touches memory that its owner has taken back. The thread lives until `close`; after that everything fails with `.cancelled`.
package final class HTTPTransport: Sendable {
    package struct Settings: Sendable {
        /// For name, connection and TLS together.
        package var connectMilliseconds = 10_000
        /// Without any byte in either direction for this long a request has failed.
        package var stallSeconds = 20
        /// Connections to the one server; further requests wait for one.
        package var connectionLimit = 64
        /// A PEM file of certificates to trust instead of the system's.
        package var certificateAuthorityPath: String?

        package init() {}
    }

    private struct Inbox {
        var started: [Exchange] = []
        var cancelled: [Exchange] = []
        var isClosed = false
    }

    private let settings: Settings
    private let inbox = Mutex(Inbox())
    private let multi: MultiHandle
    private let thread = Mutex<NativeThread?>(nil)

    package init(_ settings: Settings = Settings()) {
        self.settings = settings
        multi = MultiHandle(connectionLimit: settings.connectionLimit)
        let driver = NativeThread(name: "http") { [self] in drive() }
        thread.withLock { $0 = driver }
    }

    /// Ends every request with `.cancelled` and closes all connections. Returns when the thread has ended; harmless when repeated.
    package func close() {
        inbox.withLock { $0.isClosed = true }
        multi.wake()
        let driver = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        driver?.join()
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// - Parameters:
    ///   - body: sent as it is; alive until this returns. A PUT or POST without one has an empty one.
    ///   - buffer: where the body of a success goes; without one it is collected, as that of any other answer is.
    ///   - limit: at most this many bytes are collected.
    ///   - cancellation: frees the caller at once when it is used.
    package func perform(
        _ request: HTTPRequest, body: UnsafeRawBufferPointer? = nil, into buffer: UnsafeMutableRawBufferPointer? = nil,
        limit: Int = 1 << 20, cancellation: HTTPCancellation? = nil
    ) throws(HTTPFailure) -> HTTPResponse {
        let exchange = try Exchange(request, body: body, buffer: buffer, limit: limit, settings: settings)
        let isOpen = inbox.withLock { inbox in
            if !inbox.isClosed { inbox.started.append(exchange) }
            return !inbox.isClosed
        }
        guard isOpen else { throw HTTPFailure(code: .cancelled, detail: "the connections are closed") }
        cancellation?.setAction { [self] in
            inbox.withLock { $0.cancelled.append(exchange) }
            multi.wake()
        }
        defer { cancellation?.setAction(nil) }
        multi.wake()
        return try exchange.wait()
    }

    // MARK: The driving thread

    private func drive() {
        var running: [UnsafeMutableRawPointer: Exchange] = [:]
        while true {
            let work = inbox.withLock { inbox in
                defer { (inbox.started, inbox.cancelled) = ([], []) }
                return inbox
            }
            for exchange in work.started {
                if multi.add(exchange.easy) {
                    running[exchange.easy] = exchange
                } else {
                    exchange.end(
                        .failure(HTTPFailure(code: .invalidRequest, detail: "libcurl does not take the request")))
                }
            }
            let ended = work.isClosed ? Array(running.values) : work.cancelled
            for exchange in ended where running.removeValue(forKey: exchange.easy) != nil {
                multi.remove(exchange.easy)
                exchange.end(.failure(HTTPFailure(code: .cancelled, detail: "the request was given up")))
            }
            if work.isClosed { return }
            multi.perform()
            while let (easy, code) = multi.nextDone() {
                guard let exchange = running.removeValue(forKey: easy) else { continue }
                multi.remove(easy)
                exchange.finish(code)
            }
            multi.poll()
        }
    }
}

/// Lets another thread end a request: `cancel` frees the caller with `.cancelled`.
package final class HTTPCancellation: Sendable {
    private struct State {
        var isCancelled = false
        var action: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    package init() {}

    package func cancel() {
        let action = state.withLock { state in
            state.isCancelled = true
            return state.action
        }
        action?()
    }

    package var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// What `cancel` does, until the next call; done at once if it was cancelled before. One waits at a time.
    package func setAction(_ action: (@Sendable () -> Void)?) {
        let isCancelled = state.withLock { state in
            state.action = action
            return state.isCancelled
        }
        if isCancelled { action?() }
    }
}
