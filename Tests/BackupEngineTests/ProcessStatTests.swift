import BackupEngine
import Foundation
import Testing

@Suite("Process facts")
struct ProcessStatTests {
    private func line(command: String, flags: String, exitCode: String) -> String {
        var fields = (3...52).map { _ in "1" }
        fields[9 - 3] = flags
        fields[22 - 3] = "777"
        fields[52 - 3] = exitCode
        return "42 (\(command)) " + fields.joined(separator: " ") + "\n"
    }

    @Test func `flags, start and exit code are read, whatever the command is called`() throws {
        for command in ["dd", "a b", "x) R 1 (y", ")))", ""] {
            let stat = try #require(ProcessStat(parsing: line(command: command, flags: "4194308", exitCode: "768")))
            #expect(stat.isExiting)
            #expect(stat.exitCode == 768)
            #expect(stat.startTicks == 777)
        }
        let running = try #require(ProcessStat(parsing: line(command: "cp", flags: "4194304", exitCode: "0")))
        #expect(!running.isExiting)
    }

    @Test func `one that has ended and was not waited for is dead`() throws {
        var child: pid_t = 0
        let argv: [UnsafeMutablePointer<CChar>?] = [strdup("true"), nil]
        defer { free(argv[0]) }
        try #require(posix_spawn(&child, "/bin/true", nil, nil, argv, nil) == 0)
        defer { waitpid(child, nil, 0) }
        // Ends, but stays to be waited for.
        var information = siginfo_t()
        try #require(waitid(P_PID, id_t(child), &information, WEXITED | WNOWAIT) == 0)
        let stat = try #require(ProcessStat.read(process: child))
        #expect(stat.isDead)
        let identity = ProcessIdentity(
            process: child, startTicks: stat.startTicks, bootIdentifier: ProcessIdentity.current.bootIdentifier)
        #expect(!identity.isAlive)
        #expect(processOfThread(getpid()) == getpid())
        #expect(ProcessStat.ofExiting(process: getpid()) == nil)
    }

    @Test func `what is no such line is nothing`() {
        #expect(ProcessStat(parsing: "") == nil)
        #expect(ProcessStat(parsing: "42 (dd) R 1 2") == nil)
        #expect(ProcessStat(parsing: line(command: "dd", flags: "x", exitCode: "0")) == nil)
    }

    @Test func `this process is alive, one of another boot or start is not`() {
        #expect(ProcessIdentity.current.isAlive)
        let current = ProcessIdentity.current
        let reused = ProcessIdentity(
            process: current.process, startTicks: current.startTicks + 1, bootIdentifier: current.bootIdentifier)
        #expect(!reused.isAlive)
        let boot = ProcessIdentity(process: current.process, startTicks: current.startTicks, bootIdentifier: "x")
        #expect(!boot.isAlive)
    }
}
