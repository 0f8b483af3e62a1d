import Foundation
import SystemIO
import Testing

@testable import GuestChecks

@Suite("What confines programs of others", .serialized, .timeLimit(.minutes(1)))
struct ConfinementTests {
    private func run(_ child: ChildProcess) throws -> (ChildProcess.Ending, String) {
        var output = ""
        let ending = try child.run(
            output: { bytes in
                output += String(decoding: bytes, as: UTF8.self)
                return true
            }, progress: { ChildProcess.processorTicks(of: $0) })
        return (ending, output)
    }

    /// One that has ended may stay as a zombie, where nobody waits for orphans.
    private func isAlive(_ process: Int32) -> Bool {
        guard let status = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8) else { return false }
        return !status.contains("State:\tZ") && !status.contains("State:\tX")
    }

    @Test(.enabled(if: getuid() == 0, "another user needs root"))
    func `a confined program is nobody, without capabilities, and cannot become anybody else`() throws {
        let script = "id -u; id -G; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status"
        let command = Confinement.command("/bin/sh", ["-c", script], "/", .seconds(10)) { false }
        let (ending, output) = try run(command)
        #expect(ending == .exited(code: 0))
        #expect(
            output.split(whereSeparator: \.isWhitespace).map(String.init) == [
                "65534", "65534", "CapEff:", "0000000000000000", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1",
            ], "\(output)")
    }

    @Test func `a confined program ends with the one that started it`() throws {
        // A shell that starts it as we do, and is killed.
        let command = Confinement.command("/bin/sleep", ["100"], "/", .seconds(10)) { false }
        let line = ([command.path] + command.arguments).joined(separator: " ")
        let (_, output) = try run(shell("(\(line) & echo $!; sleep 0.3; kill -KILL $(exec sh -c 'echo $PPID'))"))
        let started = try #require(Int32(output.split(separator: "\n").first ?? ""))
        for _ in 0..<200 where isAlive(started) { usleep(10_000) }
        #expect(!isAlive(started))
    }

    private func shell(_ script: String) -> ChildProcess {
        ChildProcess(
            path: "/bin/sh", arguments: ["-c", script], folder: "/tmp", patience: .seconds(30), limit: .seconds(60))
    }
}
