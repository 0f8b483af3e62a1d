import Foundation
package import Glibc
import Synchronization

/// A program that takes commands as lines on its standard input and answers on its standard output.
///
/// The program has to end at the end of its input: this is how it ends when the test process is killed, for the
/// kernel closes our end of the socket then. So that end is not handed to any other child (SOCK_CLOEXEC), and the program
/// is in a session of its own, where an interrupt from the terminal does not reach it first.
package final class LineProcess: Sendable {
    package let processIdentifier: pid_t
    /// Our end of the socket, or nil after `end()`; the bytes that were read beyond the last line.
    private let state: Mutex<(socket: Int32?, held: [UInt8])>

    /// `POSIX_SPAWN_SETSID` of glibc's spawn.h, which Swift's module of it does not show.
    private static let inSessionOfItsOwn: Int16 = 0x80

    package init(_ arguments: [String], environment: [String: String] = [:]) throws {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw TestSupportError("no socket: \(String(cString: strerror(errno)))")
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        posix_spawnattr_setflags(&attributes, Self.inSessionOfItsOwn)
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        var argumentPointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var variablePointers: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
        var processIdentifier: pid_t = 0
        let error = posix_spawnp(
            &processIdentifier, arguments[0], &actions, &attributes, &argumentPointers, &variablePointers)
        for pointer in argumentPointers + variablePointers { free(pointer) }
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
        close(ends[1])
        guard error == 0 else {
            close(ends[0])
            throw TestSupportError("\(arguments[0]) could not be started: \(String(cString: strerror(error)))")
        }
        self.processIdentifier = processIdentifier
        state = Mutex((ends[0], []))
    }

    deinit { end() }

    /// Sends a line and returns the lines of the answer, up to the first that `isLast` accepts.
    package func ask(_ line: String, seconds: Int, until isLast: (String) -> Bool = { _ in true }) throws -> [String] {
        try state.withLock { state in
            guard let socket = state.socket else { throw TestSupportError("asked after its end: \(line)") }
            let bytes = Array((line + "\n").utf8)
            guard send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw TestSupportError("the program has ended")
            }
            return try Self.lines(socket, &state.held, seconds: seconds, until: isLast)
        }
    }

    /// The line that the program prints at its start.
    package func greeting(seconds: Int) throws -> String {
        try state.withLock { state in
            guard let socket = state.socket else { throw TestSupportError("asked after its end") }
            return try Self.lines(socket, &state.held, seconds: seconds) { _ in true }[0]
        }
    }

    /// Closes our end and waits for its end, at most for half a minute; then it is killed.
    package func end() {
        let isOpen = state.withLock { state in
            guard let socket = state.socket else { return false }
            close(socket)
            state.socket = nil
            return true
        }
        guard isOpen else { return }
        var status: Int32 = 0
        let deadline = ContinuousClock.now + .seconds(30)
        while waitpid(processIdentifier, &status, WNOHANG) == 0 {
            if ContinuousClock.now > deadline { kill(processIdentifier, SIGKILL) }
            usleep(10_000)
        }
    }

    private static func lines(
        _ socket: Int32, _ held: inout [UInt8], seconds: Int, until isLast: (String) -> Bool
    ) throws -> [String] {
        let deadline = ContinuousClock.now + .seconds(seconds)
        var found: [String] = []
        var part = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            while let end = held.firstIndex(of: UInt8(ascii: "\n")) {
                found.append(String(decoding: held[..<end], as: UTF8.self))
                held.removeSubrange(...end)
                if isLast(found[found.count - 1]) { return found }
            }
            var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            let left = (deadline - ContinuousClock.now) / .milliseconds(1)
            guard left > 0, poll(&waiting, 1, Int32(left)) > 0 else {
                if left > 0, errno == EINTR { continue }
                throw TestSupportError("no answer within \(seconds) s; so far: \(found)")
            }
            let count = read(socket, &part, part.count)
            guard count > 0 else { throw TestSupportError("the program ended after: \(found)") }
            held += part[..<count]
        }
    }
}
