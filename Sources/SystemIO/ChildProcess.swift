import Glibc

/// A program of others that we run on a backup's content: in a process group of its own, without input, with bounded output, for as
/// long as it gets on. Nothing of it is left when `run` returns.
package struct ChildProcess: Sendable {
    package enum Ending: Sendable, Hashable {
        case exited(code: Int32)
        case signalled(Int32)
        /// It did not get on for `patience` and was killed.
        case stalled
        /// It took longer than `limit` and was killed.
        case tookTooLong
        /// `output` asked for its end.
        case stopped
        /// Somebody set `isCancelled`.
        case cancelled
    }

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// The program's path, and its arguments without its name.
    package var path: String
    package var arguments: [String]
    package var environment: [String: String]
    /// The folder it runs in.
    package var folder: String
    package var patience: Duration
    package var limit: Duration
    /// What the child has as its descriptor 3; it stays ours, too.
    package var inherited: Int32?
    /// Asked several times a second.
    package var isCancelled: @Sendable () -> Bool = { false }

    /// How often the child is looked at, in milliseconds.
    private static let tick: Int32 = 50

    package init(
        path: String, arguments: [String], environment: [String: String] = [:], folder: String, patience: Duration,
        limit: Duration
    ) {
        self.path = path
        self.arguments = arguments
        self.environment = environment
        self.folder = folder
        self.patience = patience
        self.limit = limit
    }

    /// Runs it to its end. `output` gets what it writes to standard output and standard error, as it comes, and says whether it may
    /// go on; `progress` is some number that differs when the child got on. Both are called on this thread.
    package func run(
        output: (UnsafeRawBufferPointer) -> Bool, progress: (_ process: Int32) -> UInt64
    ) throws(Failure) -> Ending {
        guard access(path, X_OK) == 0 else { throw Failure(description: "\"\(path)\" cannot be run: \(Errno.current)") }
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(description: "no pipe: \(Errno.current)") }
        // Our end goes to no other child, and reading from it does not block.
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        defer { close(ends[0]) }
        let process: pid_t
        do {
            defer { close(ends[1]) }
            process = try spawn(writingTo: ends[1])
        }
        let ending = watch(process, ends[0], output, progress)
        // The leader is not waited for before its group is gone, so that the group's number is nobody else's.
        kill(-process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        _ = drain(ends[0], output)
        if let ending { return ending }
        let signal = status & 0x7f
        return signal == 0 ? .exited(code: status >> 8 & 0xff) : .signalled(signal)
    }

    /// nil: it has ended by itself.
    private func watch(
        _ process: pid_t, _ pipe: Int32, _ output: (UnsafeRawBufferPointer) -> Bool, _ progress: (Int32) -> UInt64
    ) -> Ending? {
        let start = ContinuousClock.now
        var lastProgress = start
        var lastToken = progress(process)
        var pause: Int32 = 1
        while true {
            var waiting = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
            // At the end of the pipe there is nothing to poll for any more. Most children end with it; one may close it and go on.
            if poll(&waiting, 1, Self.tick) > 0, waiting.revents & Int16(POLLIN) == 0 {
                usleep(UInt32(pause) * 1000)
                pause = min(2 * pause, Self.tick)
            }
            let drained = drain(pipe, output)
            if drained == .stop { return .stopped }
            if hasEnded(process) { return nil }
            if isCancelled() { return .cancelled }
            let now = ContinuousClock.now
            let token = progress(process)
            if drained == .some || token != lastToken { (lastToken, lastProgress) = (token, now) }
            if now - lastProgress > patience { return .stalled }
            if now - start > limit { return .tookTooLong }
        }
    }

    private enum Drained { case nothing, some, stop }

    private func drain(_ pipe: Int32, _ output: (UnsafeRawBufferPointer) -> Bool) -> Drained {
        var drained = Drained.nothing
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 << 10, alignment: 16)
        defer { buffer.deallocate() }
        // One that writes without end must not keep us from looking at the clock.
        for _ in 0..<64 {
            let count = read(pipe, buffer.baseAddress, buffer.count)
            guard count > 0 else { return drained }
            drained = .some
            if !output(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { return .stop }
        }
        return drained
    }

    private func hasEnded(_ process: pid_t) -> Bool {
        var info = siginfo_t()
        // Left to be waited for.
        return waitid(P_PID, id_t(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo == SIGCHLD
    }

    private func spawn(writingTo pipe: Int32) throws(Failure) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, pipe, 1)
        posix_spawn_file_actions_adddup2(&actions, pipe, 2)
        if pipe > 2 { posix_spawn_file_actions_addclose(&actions, pipe) }
        if let inherited { posix_spawn_file_actions_adddup2(&actions, inherited, 3) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setpgroup(&attributes, 0)
        // What we block and ignore is no affair of the child's.
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        // POSIX_SPAWN_SETPGROUP, SETSIGDEF, SETSIGMASK (spawn.h of glibc).
        posix_spawnattr_setflags(&attributes, 0x02 | 0x04 | 0x08)
        // The folder may be in a mount of this very process. So it is entered by env(1), which has none of our descriptors: were we
        // killed while a child of ours, before its exec, waited for us, its copy of the mount's would keep both for ever.
        let words = ["/usr/bin/env", "--chdir", folder, path] + arguments
        let argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        let variables = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"].merging(environment) { $1 }
        let envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        var process: pid_t = 0
        let error = posix_spawn(&process, words[0], &actions, &attributes, argv, envp)
        guard error == 0 else { throw Failure(description: "\"\(path)\" cannot be run: \(Errno(error))") }
        return process
    }

    /// Where a program is, in the folders that the system's are in; nil if it is not installed.
    package static func find(_ program: String) -> String? {
        ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"].map { $0 + program }.first { access($0, X_OK) == 0 }
    }

    /// Clock ticks that a process and its threads have had on processors; 0 when it is gone.
    package static func processorTicks(of process: Int32) -> UInt64 {
        guard let bytes = try? readWholeFile("/proc/\(process)/stat", maximumByteCount: 8192) else { return 0 }
        let line = String(decoding: bytes, as: UTF8.self)
        // The second field, in parentheses, may hold anything; what follows starts with field 3, and 14 and 15 are wanted.
        guard let end = line.lastIndex(of: ")") else { return 0 }
        let fields = line[line.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return 0 }
        return user &+ system
    }
}

/// The end of what a program has written, for people: a bounded number of bytes, whole lines, nothing that steers a terminal.
package struct OutputTail: Sendable {
    private static let limit = 4096
    private var bytes: [UInt8] = []

    package init() {}

    package mutating func append(_ more: UnsafeRawBufferPointer) {
        bytes += more.suffix(Self.limit)
        if bytes.count > Self.limit { bytes.removeFirst(bytes.count - Self.limit) }
    }

    /// The last lines that say something, joined by slashes.
    package func lastLines(_ count: Int) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(whereSeparator: \.isNewline).map { line in
            String(String.UnicodeScalarView(line.unicodeScalars.filter { $0.properties.generalCategory != .control }))
                .split(separator: " ").joined(separator: " ")
        }
        return lines.filter { !$0.isEmpty }.suffix(count).joined(separator: " / ")
    }
}
