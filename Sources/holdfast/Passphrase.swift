internal import BackupEngine
internal import CryptoPrimitives
internal import Glibc
internal import OrgKeys
internal import SystemIO

/// A passphrase from its user: from the terminal, which does not show it, or from a file. Never from the arguments, which every user
/// of the machine can read.
enum Passphrase {
    /// Longer ones are a mistake: another file was given.
    private static let maximumByteCount = 1024

    /// `file` is the path that the user gave; with nil the terminal is asked, twice where a slip would be found out too late.
    static func read(file: String?, prompt: String, asksTwice: Bool) throws -> SecretBytes {
        if let file { return try read(file) }
        let first = try ask(prompt)
        guard first.count > 0 else { throw EngineError(.badKeyFile, "the passphrase is empty") }
        guard asksTwice else { return first }
        guard try ask("The same again: ").isEqual(to: first) else {
            throw EngineError(.badKeyFile, "the two passphrases differ")
        }
        return first
    }

    /// The one line of a file.
    private static func read(_ file: String) throws -> SecretBytes {
        let content: SecretBytes
        do throws(Errno) {
            content = try SecretFile.read(file)
        } catch {
            throw EngineError(.badKeyFile, "the passphrase file \"\(file)\" cannot be read: \(error)", cause: error)
        }
        return try content.withUnsafeBytes { bytes in
            var line = bytes
            if line.last == UInt8(ascii: "\n") { line = UnsafeRawBufferPointer(rebasing: line.dropLast()) }
            if line.last == UInt8(ascii: "\r") { line = UnsafeRawBufferPointer(rebasing: line.dropLast()) }
            guard 1...maximumByteCount ~= line.count, !line.contains(UInt8(ascii: "\n")) else {
                throw EngineError(
                    .badKeyFile, "the passphrase file \"\(file)\" is not one line of 1 to \(maximumByteCount) bytes")
            }
            return SecretBytes(copying: line)
        }
    }

    // MARK: The terminal

    private static func ask(_ prompt: String) throws -> SecretBytes {
        let terminal: Terminal
        do throws(Errno) {
            terminal = try Terminal()
        } catch {
            throw EngineError(
                .badKeyFile, "there is no terminal to ask for the passphrase",
                hint: "give it by --passphrase-file FILE, where FILE may be /dev/fd/N", cause: error)
        }
        return try withExtendedLifetime(terminal) { try ask(prompt, terminal.file.descriptor) }
    }

    /// Open as long as it lives.
    private final class Terminal {
        let file: OwnedFile
        init() throws(Errno) { file = try OwnedFile(opening: "/dev/tty", for: .readWrite) }
    }

    private static func ask(_ prompt: String, _ descriptor: Int32) throws -> SecretBytes {
        try SilentTerminal.during(descriptor) {
            // Who does not see the question can still answer it.
            _ = Glibc.write(descriptor, prompt, prompt.utf8.count)
            defer { _ = Glibc.write(descriptor, "\n", 1) }
            return try readLine(descriptor)
        }
    }

    /// Byte by byte, so that nothing stays in a buffer.
    private static func readLine(_ descriptor: Int32) throws -> SecretBytes {
        var count = 0
        var isComplete = false
        var failure: Errno?
        let line = SecretBytes(count: maximumByteCount + 1) { output in
            while count < output.count {
                let result = Glibc.read(descriptor, output.baseAddress.map { $0 + count }, 1)
                if result < 0, errno == EINTR { continue }
                if result < 0 { failure = .current }
                guard result == 1 else { return }
                if output[count] == UInt8(ascii: "\n") {
                    isComplete = true
                    return
                }
                count += 1
            }
        }
        if let failure { throw failure }
        guard isComplete, count <= maximumByteCount else {
            throw EngineError(.badKeyFile, "no passphrase of at most \(maximumByteCount) bytes was given")
        }
        return line.withUnsafeBytes { SecretBytes(copying: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }
}

/// A terminal that does not show what is typed, until the body ends or a signal ends the process.
private enum SilentTerminal {
    private struct State {
        var descriptor: Int32 = -1
        var settings = termios()
    }

    // Safe because: written by `during` alone, before its handlers are installed and after they are gone; a handler reads it. At a
    // fixed address, so that a handler touches nothing that is made on first use.
    private nonisolated(unsafe) static let state: UnsafeMutablePointer<State> = {
        let state = UnsafeMutablePointer<State>.allocate(capacity: 1)
        state.initialize(to: State())
        return state
    }()

    private static let endingSignals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]

    static func during<Result>(_ descriptor: Int32, _ body: () throws -> Result) throws -> Result {
        var settings = termios()
        try Errno.check { tcgetattr(descriptor, &settings) }
        state.pointee = State(descriptor: descriptor, settings: settings)
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            // tcsetattr, signal and raise may be called from a handler (signal-safety(7)).
            let state = SilentTerminal.state
            _ = tcsetattr(state.pointee.descriptor, TCSANOW, &state.pointee.settings)
            _ = Glibc.signal(signal, SIG_DFL)
            _ = raise(signal)
        }
        let before = endingSignals.map { signal in
            var old = sigaction()
            _ = sigaction(signal, &action, &old)
            return old
        }
        defer {
            _ = tcsetattr(descriptor, TCSANOW, &settings)
            for (signal, old) in zip(endingSignals, before) {
                var old = old
                _ = sigaction(signal, &old, nil)
            }
        }
        // What was typed before the question is no answer to it.
        try Errno.check { tcsetattr(descriptor, TCSAFLUSH, &silent) }
        return try body()
    }
}
