internal import BackupEngine

/// Which processes have written to a staged file: only their `close` says that the image is complete.
///
/// A descriptor has copies: a shell keeps one while the program that writes runs, a child inherits one and closes it on `execve`.
/// The kernel reports each closing with the thread that does it, and none is marked as the last.
struct WriterProcesses {
    private static let threadLimit = 256

    private var threads: Set<Int32> = []
    private var processes: Set<Int32> = []
    /// Whether somebody wrote of whom the kernel does not tell: then any closing counts.
    private var isUnknownToo = false

    /// Takes the thread's process in; asks proc once for each thread.
    mutating func insert(thread: Int32) {
        if threads.contains(thread) { return }
        if threads.count >= Self.threadLimit { threads = [] }
        threads.insert(thread)
        if let process = processOfThread(thread) { processes.insert(process) } else { isUnknownToo = true }
    }

    func contains(thread: Int32) -> Bool {
        if isUnknownToo || threads.contains(thread) { return true }
        return processOfThread(thread).map(processes.contains) ?? true
    }

    /// Rule 3. What proc says of a writer that is going: nil for an ordinary close, and where nothing can be known.
    static func death(of thread: Int32) -> String? {
        guard thread > 0, let stat = ProcessStat.ofExiting(process: thread) else { return nil }
        guard stat.exitCode != 0 else {
            return ProcessStat.showsExitCode(of: thread)
                ? nil : "ended with the file open, and this daemon may not see how (it has no CAP_SYS_PTRACE)"
        }
        let signal = stat.exitCode & 0x7f
        return signal != 0 ? "was ended by signal \(signal)" : "exited with status \(stat.exitCode >> 8)"
    }
}
