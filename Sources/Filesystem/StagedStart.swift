internal import BackupEngine
internal import Workers

/// The beginning of a backup, on a thread of its own: the store may not answer for long, and the writer need not wait so long.
///
/// | state | when the backup has begun |
/// |---|---|
/// | waiting | it is kept for whoever waits, now or later |
/// | abandoned | it is aborted |
final class StagedStart: Sendable {
    private enum State {
        case waiting, abandoned
        case done(Result<BackupSession, EngineError>)
        /// Given to the writer.
        case taken
    }

    private let state = Monitor(State.waiting)

    init(_ begin: @escaping @Sendable () throws(EngineError) -> BackupSession) {
        NativeThread(name: "staging-start") { [state] in
            let result = Result { () throws(EngineError) in try begin() }
            let isAbandoned = state.withLock { state in
                if case .abandoned = state { return true }
                state = .done(result)
                return false
            }
            if isAbandoned { try? result.get().abort() }
        }.detach()
    }

    /// The result, once; nil when the caller gives up, which it is asked ten times a second.
    func wait(unless hasGivenUp: () -> Bool) -> Result<BackupSession, EngineError>? {
        while true {
            let result = state.wait(milliseconds: 100) { state -> Result<BackupSession, EngineError>? in
                guard case .done(let result) = state else { return nil }
                state = .taken
                return result
            }
            if let result { return result }
            if hasGivenUp() { return nil }
        }
    }

    /// Nobody waits for it any more.
    func abandon() {
        let begun: Result<BackupSession, EngineError>? = state.withLock { state in
            defer { state = .abandoned }
            if case .done(let result) = state { return result }
            return nil
        }
        guard let begun, let session = try? begun.get() else { return }
        NativeThread(name: "staging-abort") { session.abort() }.detach()
    }
}
