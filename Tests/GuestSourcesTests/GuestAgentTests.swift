import BackupEngine
import Foundation
import Glibc
import SystemIO
import TestSupport
import Testing

@testable import GuestSources

/// QEMU's own agent in a Linux guest that writes to its file system without a pause.
@Suite(
    "Guests with an agent", .serialized, .timeLimit(.minutes(4)),
    .enabled(if: ChildProcess.find("qemu-system-x86_64") != nil, "QEMU is not installed"))
struct GuestAgentTests {
    private func agent(_ guest: RunningGuest) throws -> GuestAgent {
        try GuestAgent(guest.agent, patience: .seconds(10))
    }

    /// Reads the guest's disk into a file beside it, and gives what ext4 says of it.
    private func take(_ guest: RunningGuest, _ more: String) throws -> (
        source: GuestSource, features: String, path: String
    ) {
        let source = try guest.sources().open(guest.uri("vda", more))
        let sink = ImageSink()
        try source.stream(to: sink) { _, _ in }
        let path = guest.folder.path + "/taken.raw"
        try Data(sink.bytes).write(to: URL(fileURLWithPath: path))
        return (source, try shell("/sbin/dumpe2fs -h \(path) 2>/dev/null | grep '^Filesystem features'"), path)
    }

    /// The guest's own number grows: it is not frozen.
    private func expectProgress(_ guest: RunningGuest, _ location: SourceLocation = #_sourceLocation) throws {
        #expect(try !agent(guest).isFrozen, sourceLocation: location)
        let monitor = try QMPConnection(guest.control, patience: .seconds(10))
        func written() throws -> Int64 {
            try monitor.execute("query-blockstats").elements.compactMap { $0["stats"]["wr_operations"].integer }.max()
                ?? 0
        }
        let before = try written()
        // ext4 writes after five seconds at the latest.
        for _ in 0..<200 {
            if try written() > before { return }
            usleep(100_000)
        }
        Issue.record("the guest writes no more", sourceLocation: location)
    }

    @Test func `frozen for a moment, the guest's file system needs no recovery, and without it does`() throws {
        let guest = try RunningGuest.linux()
        defer { guest.end() }
        let crash = try take(guest, "")
        #expect(crash.source.consistency == "qmp" && crash.source.frozenTime == nil)
        #expect(crash.features.contains("needs_recovery"), "\(crash.features)")
        for _ in 0..<2 {
            let frozen = try take(guest, "&agent=\(guest.agent)")
            #expect(frozen.source.consistency == "guest-agent")
            #expect(!frozen.features.contains("needs_recovery"), "\(frozen.features)")
            // It is sound without its journal.
            try shell("/sbin/e2fsck -fn \(frozen.path)")
            // The two files are of one moment, too.
            let numbers = try ["first", "second"].map {
                try shell("/sbin/debugfs -R 'cat \($0)' \(frozen.path) 2>/dev/null").trimmingCharacters(
                    in: .whitespacesAndNewlines)
            }
            if let first = Int(numbers[0]), let second = Int(numbers[1]) {
                #expect(first == second || first == second + 1, "\(numbers)")
            }
            let time = try #require(frozen.source.frozenTime)
            print("the guest stood still for \(time)")
            #expect(time < .seconds(5), "\(time)")
            try expectProgress(guest)
        }
        try guest.expectNothingLeft()
        #expect(guest.notes.isEmpty)
    }

    @Test func `an agent that must not freeze is an error before any work`() throws {
        let guest = try RunningGuest.linux("agent=blocked")
        defer { guest.end() }
        let error = try guest.failure("vda", "&agent=\(guest.agent)")
        #expect(error.code == .source && error.detail.contains("refuses to freeze"), "\(error)")
        #expect(error.hint?.contains("leave agent= away") == true)
        try expectProgress(guest)
        try guest.expectNothingLeft()
    }

    @Test func `an agent that does not answer is an error before any work, and a wrong socket is told`() throws {
        let guest = try RunningGuest.linux("agent=none")
        defer { guest.end() }
        let error = try guest.failure("vda", "&agent=\(guest.agent)")
        #expect(error.code == .source && error.detail.contains("guest agent does not answer"), "\(error)")
        let absent = try guest.failure("vda", "&agent=\(guest.folder.path)/absent")
        #expect(absent.detail.contains("there is no socket"), "\(absent)")
        try guest.expectNothingLeft()
    }

    @Test func `a guest that somebody else has frozen is left so`() throws {
        let guest = try RunningGuest.linux()
        defer { guest.end() }
        try agent(guest).ask("guest-fsfreeze-freeze")
        let error = try guest.failure("vda", "&agent=\(guest.agent)")
        #expect(error.detail.contains("frozen already"), "\(error)")
        #expect(try agent(guest).isFrozen)
        try agent(guest).thaw()
        try expectProgress(guest)
    }

    @Test func `the guard thaws when the time is over, and at once when the process is gone`() throws {
        let guest = try RunningGuest.linux()
        defer { guest.end() }
        do {
            let agent = try agent(guest)
            let watch = try FreezeGuard(agent, seconds: 1)
            try agent.ask("guest-fsfreeze-freeze")
            let start = ContinuousClock.now
            waitUntilThawed(agent)
            #expect(ContinuousClock.now - start < .seconds(5), "\(ContinuousClock.now - start)")
            watch.end()
        }
        try expectProgress(guest)

        let other = Process()
        other.executableURL = URL(fileURLWithPath: "/bin/sleep")
        other.arguments = ["60"]
        try other.run()
        do {
            let agent = try agent(guest)
            let watch = try FreezeGuard(agent, seconds: 30, of: other.processIdentifier)
            try agent.ask("guest-fsfreeze-freeze")
            let start = ContinuousClock.now
            kill(other.processIdentifier, SIGKILL)
            other.waitUntilExit()
            waitUntilThawed(agent)
            #expect(ContinuousClock.now - start < .seconds(5), "\(ContinuousClock.now - start)")
            watch.end()
        }
        try expectProgress(guest)
    }

    /// Half a minute at most. The answers that the guard causes come between ours.
    private func waitUntilThawed(_ agent: GuestAgent) {
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            try? agent.synchronize()
            if (try? agent.isFrozen) == false { return }
            usleep(50_000)
        }
    }

    @Test func `what a killed backup has frozen, the next look thaws`() throws {
        let guest = try RunningGuest.linux()
        defer { guest.end() }
        try agent(guest).ask("guest-fsfreeze-freeze")
        let journal = GuestJournal(path: guest.folder.path + "/state/guests")
        let dead = try #require(GuestToken("holdfast-1-1-000000"))
        try journal.write(GuestJournal.Note(socket: guest.socket, frozenAgent: guest.agent), dead)
        guest.sources().cleanUpAfterCrash()
        #expect(try !agent(guest).isFrozen)
        #expect(guest.notes.isEmpty)
        try expectProgress(guest)
    }
}
