internal import Glibc
internal import SystemIO

/// A daemon that did not come up: what it said, and the exit code it ended with.
package struct DaemonStartError: Error, Sendable {
    package let message: String
    package let exitCode: Int32
}

/// Starting in the background: a second process is started with a pipe, and the first waits for what it says.
///
/// The child writes one byte when it answers reads, or ends with its error on standard error before. `fork` without `exec`
/// is no way here: threads exist already.
package enum BackgroundStart {
    /// Names the pipe's descriptor to the child.
    private static let variable = "HOLDFAST_READY_FD"
    /// The pipe's descriptor in the child.
    private static let readyDescriptor: Int32 = 3

    /// Whether this process is such a child.
    package static var isChild: Bool { getenv(variable) != nil }

    /// Starts this program again with `arguments` and waits until it is ready. Throws when it ends before.
    package static func run(arguments: [String], logPath: String) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Errno.current }
        // Nothing of the caller's goes to the daemon: who waits for the end of a pipe, or for a lock, must not wait for it.
        for entry in try Folder.entries(of: "/proc/self/fd") {
            if let descriptor = entry.name.flatMap({ Int32($0) }), descriptor > 2 {
                _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            }
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], readyDescriptor)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A session of its own (POSIX_SPAWN_SETSID): the terminal's signals do not reach it.
        posix_spawnattr_setflags(&attributes, 0x80)
        setenv(variable, "\(readyDescriptor)", 1)
        setenv("HOLDFAST_LOG_FILE", logPath, 1)
        var child: pid_t = 0
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        // By its own path, for the sake of the name that `ps` shows.
        let program = Self.programPath ?? "/proc/self/exe"
        let status = posix_spawn(&child, program, &actions, &attributes, argv, environ)
        unsetenv(variable)
        close(ends[1])
        defer { close(ends[0]) }
        guard status == 0 else { throw Errno(status) }
        var byte: UInt8 = 0
        while true {
            let count = read(ends[0], &byte, 1)
            if count == 1 { return }
            if count < 0, errno == EINTR { continue }
            break
        }
        // The child has closed its end without a word: it ended, and has said why on standard error.
        var ended: Int32 = 0
        waitpid(child, &ended, 0)
        let code = ended & 0x7f == 0 ? ended >> 8 & 0xff : 1
        throw DaemonStartError(message: "the mount did not come up", exitCode: code == 0 ? 11 : code)
    }

    private static var programPath: String? {
        guard let resolved = realpath("/proc/self/exe", nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// In the child: ready. Standard error goes to the log file from now on.
    package static func reportReady() {
        guard let text = getenv(variable), let descriptor = Int32(String(cString: text)) else { return }
        unsetenv(variable)
        if let path = getenv("HOLDFAST_LOG_FILE") {
            let log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
            if log >= 0 {
                dup2(log, 2)
                close(log)
            }
        }
        _ = chdir("/")
        var byte: UInt8 = 1
        _ = write(descriptor, &byte, 1)
        close(descriptor)
    }
}
