internal import HTTPTransport
internal import Workers

/// Whether the store is there: a circuit breaker over all requests of one backend, and the pace of their repetitions.
///
/// | state | entered | requests | left |
/// |---|---|---|---|
/// | *there* | at first; when a probe is answered | go out at once | `outageLimit` requests in a row without any answer |
/// | *away* | see above | wait for *there*, as long as their patience lasts; once the outage is older than that, only `briefWait` | a probe, sent every second, is answered |
///
/// So a reader rides through a short outage, and an outage that lasts is an error soon, for every reader, with nothing sent.
/// Any answer counts, an error too: the server is there. A store that was away is used again a second after it is back.
///
/// Repetitions take tokens from one bucket for the whole backend: what comes back after an outage does not get all of them at once.
final class Availability: Sendable {
    static let outageLimit = 4
    /// How long a request waits for a store that has been away for longer than its patience: long enough for a probe.
    static let briefWait = Duration.seconds(4)
    private static let tokenLimit = 64.0
    private static let tokensPerSecond = 16.0

    struct Report: Sendable {
        var isThere = true
        var awayForSeconds: Int?
        var requests: UInt64 = 0
        var repetitions: UInt64 = 0
        var throttled: UInt64 = 0
        var outages: UInt64 = 0
        var lastProblem: String?
    }

    private struct State {
        var report = Report()
        var unanswered = 0
        var awaySince: ContinuousClock.Instant?
        var tokens = Availability.tokenLimit
        var tokensAt = ContinuousClock.now
        var isClosed = false
    }

    private let state = Monitor(State())

    /// Waits until the store is there. False when the wait is over: `start` is when the request began.
    func waitUntilThere(
        start: ContinuousClock.Instant, patience: Duration, cancellation: HTTPCancellation?
    ) -> Bool {
        while true {
            if cancellation?.isCancelled == true { return false }
            let (isThere, awaySince) = state.withLockQuietly { ($0.awaySince == nil, $0.awaySince) }
            guard !isThere, let awaySince else { return true }
            let end = min(start + patience, max(awaySince + patience, start + Self.briefWait))
            let rest = (end - ContinuousClock.now) / .milliseconds(1)
            guard rest > 0, !state.withLockQuietly({ $0.isClosed }) else { return false }
            cancellation?.setAction { [state] in state.withLock { _ in } }
            let milliseconds = Int(min(rest, 60_000)) + 1
            _ = state.wait(milliseconds: milliseconds) { state in
                state.awaySince == nil || state.isClosed || cancellation?.isCancelled == true ? () : nil
            }
            cancellation?.setAction(nil)
        }
    }

    func noteRequest() { state.withLockQuietly { $0.report.requests += 1 } }

    /// The server has answered, whatever it said.
    func noteAnswer() {
        state.withLockQuietly { $0.unanswered = 0 }
    }

    func noteThrottled() { state.withLockQuietly { $0.report.throttled += 1 } }

    func note(problem: String) { state.withLockQuietly { $0.report.lastProblem = problem } }

    /// A request had no answer. True when the store is now away: the caller starts the probes.
    func noteSilence() -> Bool {
        state.withLock { state in
            state.unanswered += 1
            guard state.unanswered >= Self.outageLimit, state.awaySince == nil, !state.isClosed else { return false }
            state.awaySince = ContinuousClock.now
            state.report.outages += 1
            return true
        }
    }

    /// A probe was answered.
    func noteReturn() {
        state.withLock { state in
            state.awaySince = nil
            state.unanswered = 0
        }
    }

    /// Waits for so long. False when the store was closed or the request cancelled meanwhile.
    func pause(_ duration: Duration, cancellation: HTTPCancellation? = nil) -> Bool {
        cancellation?.setAction { [state] in state.withLock { _ in } }
        defer { cancellation?.setAction(nil) }
        let ended: Void? = state.wait(milliseconds: Int(duration / .milliseconds(1))) { state in
            state.isClosed || cancellation?.isCancelled == true ? () : nil
        }
        return ended == nil
    }

    var isClosed: Bool { state.withLockQuietly { $0.isClosed } }

    func close() { state.withLock { $0.isClosed = true } }

    /// Takes a token for a repetition; returns how long to wait for it.
    func takeToken() -> Duration {
        state.withLockQuietly { state in
            let now = ContinuousClock.now
            let gained = (now - state.tokensAt) / .seconds(1) * Self.tokensPerSecond
            state.tokens = min(Self.tokenLimit, state.tokens + gained) - 1
            state.tokensAt = now
            state.report.repetitions += 1
            return state.tokens >= 0 ? .zero : .seconds(-state.tokens / Self.tokensPerSecond)
        }
    }

    var report: Report {
        state.withLockQuietly { state in
            var report = state.report
            report.isThere = state.awaySince == nil
            report.awayForSeconds = state.awaySince.map { Int((ContinuousClock.now - $0) / .seconds(1)) }
            return report
        }
    }
}
