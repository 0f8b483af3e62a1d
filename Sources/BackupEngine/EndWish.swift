import Glibc

/// What the signals that wait for a thread say: whether it is to end.
///
/// A thread inside a system call has not taken them yet, so proc_pid_status(5) still shows them.
package enum EndWish: Sendable, Hashable {
    /// It will end as soon as the system call does, whatever that answers.
    case certain
    /// A SIGINT, SIGTERM, SIGHUP or SIGQUIT that the program handles: it wants to know.
    case asked
    case none

    /// `certain` where nothing is left of the thread, `asked` where nothing can be known of it.
    package static func ofThread(_ thread: Int32) -> EndWish {
        guard thread > 0 else { return .asked }
        guard let status = readProcFile("/proc/\(thread)/status") else {
            return kill(thread, 0) == 0 ? .asked : .certain
        }
        // One that exits shows the SIGKILL by which a program of several threads ends, also with status 0.
        if let exiting = ProcessStat.ofExiting(process: thread) {
            return exiting.exitCode == 0 && ProcessStat.showsExitCode(of: thread) ? .none : .certain
        }
        return EndWish(status: status)
    }

    init(status: String) {
        func mask(_ name: String) -> UInt64 {
            let line = status.split(separator: "\n").first { $0.hasPrefix(name + ":") }
            return line.flatMap { UInt64($0.dropFirst(name.count + 1).drop(while: \.isWhitespace), radix: 16) } ?? 0
        }
        let (ignored, caught) = (mask("SigIgn"), mask("SigCgt"))
        let waiting = (mask("SigPnd") | mask("ShdPnd")) & ~mask("SigBlk")
        if waiting & ~(ignored | caught | Self.harmless) != 0 {
            self = .certain
        } else if waiting & caught & Self.asking != 0 {
            self = .asked
        } else {
            self = .none
        }
    }

    private static func bits(_ signals: Int32...) -> UInt64 {
        signals.reduce(0) { $0 | 1 << UInt64($1 - 1) }
    }

    /// signal(7): those that end nobody by default.
    private static let harmless = bits(SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
    private static let asking = bits(SIGINT, SIGTERM, SIGHUP, SIGQUIT)
}
