internal import BackupEngine
internal import Workers

/// The beginning of a staged file's backup, which an interrupted writer leaves and joins again with its next write.
///
/// A value under the file's work lock; at most one `StagedStart` is under way in it.
struct StagedBeginning {
    private var left: (start: StagedStart, handle: UInt64)?

    /// Nobody else has begun.
    func isFree(for handle: UInt64) -> Bool { left.map { $0.handle == handle } ?? true }

    /// Begins, or joins what this handle has begun; nil when the caller gives up.
    mutating func wait(
        for handle: UInt64, unless call: StagedCall,
        _ begin: @escaping @Sendable () throws(EngineError) -> BackupSession
    ) throws(EngineError) -> BackupSession? {
        let start = left?.start ?? StagedStart(begin)
        guard let result = start.wait(unless: { call.hasGivenUp }) else {
            left = (start, handle)
            return nil
        }
        left = nil
        return try result.get()
    }

    /// Nobody waits for it any more.
    mutating func abandon() {
        left?.start.abandon()
        left = nil
    }

    /// The same, if it is this handle's.
    mutating func abandon(by handle: UInt64) {
        if left?.handle == handle { abandon() }
    }
}

/// The making of a backup session, on a thread of its own: the store may not answer for long, and the writer need not wait so long.
///
/// | state | when the backup has begun |
/// |---|---|
/// | waiting | it is kept for whoever waits, now or later |
/// | abandoned | it is aborted |
private final class StagedStart: Sendable {
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
