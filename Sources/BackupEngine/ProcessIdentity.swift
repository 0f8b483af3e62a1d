import Glibc

/// Which process, of which boot, something belongs to: a process id alone is reused.
package struct ProcessIdentity: Sendable, Hashable {
    package let process: Int32
    /// Field 22 of proc_pid_stat(5): clock ticks from boot to the start of the process.
    package let startTicks: UInt64
    package let bootIdentifier: String

    package init(process: Int32, startTicks: UInt64, bootIdentifier: String) {
        self.process = process
        self.startTicks = startTicks
        self.bootIdentifier = bootIdentifier
    }

    /// This process.
    package static let current = ProcessIdentity(
        process: getpid(), startTicks: ProcessStat.read(process: getpid())?.startTicks ?? 0,
        bootIdentifier: currentBootIdentifier)

    /// Whether that very process still runs on this machine.
    package var isAlive: Bool {
        guard bootIdentifier == Self.currentBootIdentifier else { return false }
        guard let stat = ProcessStat.read(process: process) else { return false }
        return stat.startTicks == startTicks && !stat.isDead
    }

    private static let currentBootIdentifier: String =
        readProcFile("/proc/sys/kernel/random/boot_id").map { $0.filter { !$0.isWhitespace } } ?? ""
}

/// What proc_pid_stat(5) says of a process.
package struct ProcessStat: Sendable, Hashable {
    /// Field 3 is Z or X: it has ended, and only its parent has not asked yet.
    package let isDead: Bool
    /// Bit 0x4 of field 9: the process is on its way out, as seen while its files are being closed.
    package let isExiting: Bool
    /// Field 52, as wait(2) would give it: 0 after success, 9 after SIGKILL, 768 after `exit(3)`. Also 0 for who may not know.
    package let exitCode: Int32
    package let startTicks: UInt64

    /// nil when there is no such process, or proc cannot tell.
    package static func read(process: Int32) -> ProcessStat? {
        readProcFile("/proc/\(process)/stat").flatMap(ProcessStat.init(parsing:))
    }

    /// The state of a process that asks for something right now; nil while it runs on afterwards.
    ///
    /// /proc/PID/stat of a process inside `execve` cannot be read before the `execve` is done, and that waits for the answer to its
    /// close-on-exec descriptors. So /proc/PID/status is asked first, which never waits: a process that ends has given its
    /// memory back before it closes its files, one that is elsewhere has not.
    package static func ofExiting(process: Int32) -> ProcessStat? {
        guard let status = readProcFile("/proc/\(process)/status"), !status.contains("\nVmSize:"),
            let stat = read(process: process), stat.isExiting
        else { return nil }
        return stat
    }

    /// Whether `exitCode` of a process says anything. The kernel shows it to those who might trace the process (ptrace(2), access
    /// mode PTRACE_MODE_READ_FSCREDS), as it does this link: a daemon without CAP_SYS_PTRACE does not see that of a root shell.
    package static func showsExitCode(of process: Int32) -> Bool {
        var target: CChar = 0
        return readlink("/proc/\(process)/ns/user", &target, 1) >= 0 || errno != EACCES && errno != EPERM
    }

    /// Parses a line of /proc/PID/stat. The second field, the command in parentheses, may itself hold spaces and parentheses.
    package init?(parsing line: String) {
        guard let end = line.lastIndex(of: ")") else { return nil }
        // What follows starts with field 3.
        let fields = line[line.index(after: end)...].split(whereSeparator: \.isWhitespace)
        func field<Number: FixedWidthInteger>(_ number: Int, as: Number.Type) -> Number? {
            number - 3 < fields.count ? Number(fields[number - 3]) : nil
        }
        guard let state = fields.first, let flags = field(9, as: UInt64.self), let start = field(22, as: UInt64.self),
            let exitCode = field(52, as: Int32.self)
        else { return nil }
        isDead = state == "Z" || state == "X"
        isExiting = flags & 0x4 != 0
        startTicks = start
        self.exitCode = exitCode
    }
}

/// The process that a thread belongs to; nil when it is gone, or of another namespace (thread 0). Never waits.
package func processOfThread(_ thread: Int32) -> Int32? {
    guard thread > 0, let status = readProcFile("/proc/\(thread)/status") else { return nil }
    let line = status.split(separator: "\n").first { $0.hasPrefix("Tgid:") }
    return line.flatMap { Int32($0.dropFirst(5).drop(while: \.isWhitespace)) }
}

func readProcFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self)
}
