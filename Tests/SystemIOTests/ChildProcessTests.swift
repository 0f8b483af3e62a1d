import Foundation
import SystemIO
import Testing

@Suite("Programs of others", .serialized, .timeLimit(.minutes(1)))
struct ChildProcessTests {
    private func child(
        _ script: String, patience: Duration = .seconds(30), limit: Duration = .seconds(60)
    ) -> ChildProcess {
        ChildProcess(
            path: "/bin/sh", arguments: ["-c", script], environment: ["HELD": "yes"], folder: "/tmp",
            patience: patience,
            limit: limit)
    }

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

    @Test func `its output, folder, environment and end are told`() throws {
        let (ending, output) = try run(child("pwd; echo $HELD $LC_ALL >&2; cat; exit 7"))
        #expect(ending == .exited(code: 7) && output == "/tmp\nyes C\n", "no input: \(output)")
        #expect(try run(child("kill -SEGV $$")).0 == .signalled(SIGSEGV))
    }

    @Test func `more output than a pipe holds is all there`() throws {
        let (ending, output) = try run(child("head -c 3000000 /dev/zero | tr '\\0' x"))
        #expect(ending == .exited(code: 0) && output.utf8.count == 3_000_000)
    }

    @Test func `one that does not get on is killed, with all that it has started`() throws {
        let (ending, output) = try run(child("sleep 100 & echo $!; wait", patience: .milliseconds(300)))
        #expect(ending == .stalled)
        let started = try #require(Int32(output.split(separator: "\n").first ?? ""))
        for _ in 0..<100 where isAlive(started) { usleep(10_000) }
        #expect(!isAlive(started))
    }

    @Test func `one that computes gets on, and one that writes, but not for ever`() throws {
        let start = ContinuousClock.now
        let ending = try run(
            child("while :; do :; done", patience: .milliseconds(300), limit: .milliseconds(1200))
        ).0
        #expect(ending == .tookTooLong && ContinuousClock.now - start >= .milliseconds(1200))
        var count = 0
        let writing = child("while :; do echo; sleep 0.05; done", patience: .milliseconds(500), limit: .seconds(1))
        #expect(
            try writing.run(
                output: { bytes in
                    count += bytes.count
                    return true
                }, progress: { _ in 0 }) == .tookTooLong)
        #expect(count > 5)
    }

    @Test func `one whose output has what was wanted is ended, and one that was cancelled`() throws {
        let found = try child("echo wanted; sleep 100").run(output: { _ in false }, progress: { _ in 0 })
        #expect(found == .stopped)
        var waiting = child("sleep 100")
        let start = Date()
        waiting.isCancelled = { Date().timeIntervalSince(start) > 0.2 }
        #expect(try run(waiting).0 == .cancelled)
    }

    @Test func `a program that is not there is said`() {
        let absent = ChildProcess(
            path: "/absent/x", arguments: [], folder: "/", patience: .seconds(1), limit: .seconds(1))
        #expect(throws: ChildProcess.Failure.self) { _ = try absent.run(output: { _ in true }, progress: { _ in 0 }) }
        #expect(ChildProcess.find("no-such-program") == nil && ChildProcess.find("sh") != nil)
    }

    @Test func `the end of an output is bounded and says nothing to a terminal`() {
        var tail = OutputTail()
        Array("first\n".utf8).withUnsafeBytes { tail.append($0) }
        Array(String(repeating: "x", count: 10_000).utf8).withUnsafeBytes { tail.append($0) }
        Array("\n\u{1B}[31mred\u{7}\n\n  two   words\t\r\nlast".utf8).withUnsafeBytes { tail.append($0) }
        #expect(tail.lastLines(3) == "[31mred / two words / last")
        #expect(tail.lastLines(100).utf8.count <= 4200)
    }
}
