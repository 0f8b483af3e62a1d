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
        return ProcessStat.read(process: process)?.startTicks == startTicks
    }

    private static let currentBootIdentifier: String =
        readProcFile("/proc/sys/kernel/random/boot_id").map { $0.filter { !$0.isWhitespace } } ?? ""
}

/// What proc_pid_stat(5) says of a process.
package struct ProcessStat: Sendable, Hashable {
    /// Bit 0x4 of field 9: the process is on its way out, as seen while its files are being closed.
    package let isExiting: Bool
    /// Field 52, as wait(2) would give it: 0 after success, 9 after SIGKILL, 768 after `exit(3)`.
    package let exitCode: Int32
    package let startTicks: UInt64

    /// nil when there is no such process, or proc cannot tell.
    package static func read(process: Int32) -> ProcessStat? {
        readProcFile("/proc/\(process)/stat").flatMap(ProcessStat.init(parsing:))
    }

    /// Parses a line of /proc/PID/stat. The second field, the command in parentheses, may itself hold spaces and parentheses.
    package init?(parsing line: String) {
        guard let end = line.lastIndex(of: ")") else { return nil }
        // What follows starts with field 3.
        let fields = line[line.index(after: end)...].split(whereSeparator: \.isWhitespace)
        func field<Number: FixedWidthInteger>(_ number: Int, as: Number.Type) -> Number? {
            number - 3 < fields.count ? Number(fields[number - 3]) : nil
        }
        guard let flags = field(9, as: UInt64.self), let start = field(22, as: UInt64.self),
            let exitCode = field(52, as: Int32.self)
        else { return nil }
        isExiting = flags & 0x4 != 0
        startTicks = start
        self.exitCode = exitCode
    }
}

private func readProcFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self)
}
