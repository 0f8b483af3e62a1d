internal import Glibc
internal import SystemIO
internal import Workers

/// Thaws a guest when its time is over or this process has ended, whatever either is doing: a process of its own, that has the agent's
/// socket and a clock.
final class FreezeGuard {
    private struct State {
        var isReady = false
        var isWanted = true
        var hasEnded = false
    }

    private let state = Monitor(State())
    private let thread: NativeThread

    /// Ten times a second: is the process there, is there time left? Then the same words as `GuestAgent.thaw`, which harm no guest that
    /// was thawed already.
    private static let script = """
        echo ready
        ticks=$2
        while [ "$ticks" -gt 0 ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; ticks=$((ticks - 1)); done
        printf '\\377{"execute":"guest-sync-delimited","arguments":{"id":1}}\\n{"execute":"guest-fsfreeze-thaw"}\\n' >&3
        """

    /// Starts to watch a process, this one; nobody may freeze before.
    init(_ agent: GuestAgent, seconds: Int, of process: Int32 = getpid()) throws(ConversationFailure) {
        let patience = Duration.seconds(seconds + 60)
        var child = ChildProcess(
            path: "/bin/sh", arguments: ["-c", Self.script, "sh", "\(process)", "\(seconds * 10)"], folder: "/",
            patience: patience, limit: patience)
        child.inherited = agent.descriptor
        child.isCancelled = { [state] in state.withLockQuietly { !$0.isWanted } }
        thread = NativeThread(name: "freeze-guard") { [state, child] in
            _ = try? child.run(
                output: { _ in
                    state.withLock { $0.isReady = true }
                    return true
                }, progress: { _ in 0 })
            state.withLock { $0.hasEnded = true }
        }
        let isReady = state.wait(milliseconds: 5000) { $0.isReady ? true : $0.hasEnded ? false : nil }
        guard isReady == true else {
            end()
            throw ConversationFailure(
                description: "nobody would thaw the guest if this process ended: no shell can be run")
        }
    }

    /// The guest is thawed: nobody has to watch any more. Called once.
    func end() {
        state.withLock { $0.isWanted = false }
        thread.join()
    }
}
