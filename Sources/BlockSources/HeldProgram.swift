internal import Glibc
internal import SystemIO
internal import Workers

/// A program that runs beside us until we end it, or it does. It ends with this process, too, whatever ends that.
final class HeldProgram: Sendable {
    private struct State {
        var isWanted = true
        var hasEnded = false
        var tail = OutputTail()
    }

    /// How long one may take to end by itself when nobody needs it any more.
    private static let grace = 2000
    /// Longer than any backup takes.
    private static let limit = Duration.seconds(365 * 86_400)

    private let state = Monitor(State())
    private let thread: NativeThread

    /// Starts a program with a listening socket as systemd hands one over (sd_listen_fds(3)). The socket is closed here once the
    /// program has it, so that who is connected to it learns of the program's end.
    init(_ program: String, _ arguments: [String], listener: Int32) {
        let script = """
            [ "$PPID" = "$1" ] || exit 1
            shift
            export LISTEN_FDS=1 LISTEN_PID=$$
            exec "$@"
            """
        // The kernel's wish to kill it with us is of the thread that started it, which is the one below.
        let guarded = ["--no-new-privs", "--pdeathsig", "KILL", "--", "/bin/sh", "-c", script, "sh", "\(getpid())"]
        var child = ChildProcess(
            path: "/usr/bin/setpriv", arguments: guarded + [program] + arguments, folder: "/", patience: Self.limit,
            limit: Self.limit)
        child.inherited = listener
        child.isCancelled = { [state] in state.withLockQuietly { !$0.isWanted } }
        thread = NativeThread(name: "held-program") { [state, child] in
            var isOpen = true
            do {
                _ = try child.run(
                    output: { bytes in
                        state.withLock { $0.tail.append(bytes) }
                        return true
                    },
                    progress: { _ in
                        if isOpen { close(listener) }
                        isOpen = false
                        return 0
                    })
            } catch {
                let text = Array("\(error)\n".utf8)
                state.withLock { state in text.withUnsafeBytes { state.tail.append($0) } }
            }
            if isOpen { close(listener) }
            state.withLock { $0.hasEnded = true }
        }
    }

    /// What it has written last, when it has ended by itself, which it gets a moment for; nil if it runs.
    func lastWords() -> String? {
        _ = state.wait(milliseconds: Self.grace) { $0.hasEnded ? () : nil }
        return state.withLock { $0.hasEnded ? $0.tail.lastLines(3) : nil }
    }

    /// Waits for its end, and kills it if that does not come.
    func end() {
        _ = state.wait(milliseconds: Self.grace) { $0.hasEnded ? () : nil }
        state.withLock { $0.isWanted = false }
        thread.join()
    }
}
