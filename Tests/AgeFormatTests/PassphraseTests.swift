import AgeFormat
import CryptoPrimitives
import Foundation
import Testing

@Suite("Passphrases", .timeLimit(.minutes(1)))
struct PassphraseTests {
    /// Fast enough for tests; what is written for users is age's own 18.
    private let quick = 4

    private func secret(_ text: String) -> SecretBytes { Array(text.utf8).withUnsafeBytes { SecretBytes(copying: $0) } }

    private func secret(count: Int) -> SecretBytes { SecretBytes(count: count) { SystemRandom.fill($0) } }

    private func code(_ body: () throws -> Void) -> AgeError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? AgeError)?.code
        }
    }

    private func decrypt(_ file: [UInt8], _ passphrase: String) throws -> SecretBytes {
        try file.withUnsafeBytes { try Age.decrypt($0, passphrase: secret(passphrase)) }
    }

    @Test(arguments: [0, 1, 200, 65_535, 65_536])
    func `a secret comes back by its passphrase, and by no other`(count: Int) throws {
        let content = secret(count: count)
        let file = try Age.encrypt(content, passphrase: secret("correct horse"), workFactor: quick)
        #expect(try decrypt(file, "correct horse").isEqual(to: content))
        #expect(code { _ = try decrypt(file, "correct horse ") } == .noMatch)
        #expect(code { _ = try decrypt(file, "") } == .noMatch)
        #expect(file.withUnsafeBytes { Age.isUnderPassphrase($0) })
    }

    @Test func `two files of one secret and one passphrase have nothing in common`() throws {
        let content = secret("the same")
        let files = try (0..<2).map { _ in try Age.encrypt(content, passphrase: secret("p"), workFactor: quick) }
        let lines = files.map { String(decoding: $0.prefix(100), as: UTF8.self).split(separator: "\n") }
        #expect(lines[0][1] != lines[1][1] && lines[0][2] != lines[1][2])
        #expect(files[0].suffix(24) != files[1].suffix(24))
    }

    @Test func `the work factor is age's own unless said otherwise`() throws {
        let file = try Age.encrypt(secret("x"), passphrase: secret("p"))
        let line = try #require(
            String(decoding: file.prefix(60), as: UTF8.self).split(separator: "\n").dropFirst().first)
        #expect(line.hasPrefix("-> scrypt ") && line.hasSuffix(" 18"))
    }

    @Test func `no byte of the file can be changed, cut or added`() throws {
        let file = try Age.encrypt(secret("precious"), passphrase: secret("p"), workFactor: 1)
        for index in file.indices {
            var changed = file
            changed[index] ^= 1
            #expect(code { _ = try decrypt(changed, "p") } != nil, "byte \(index)")
            #expect(code { _ = try decrypt(Array(file[..<index]), "p") } != nil, "cut at \(index)")
        }
        #expect(code { _ = try decrypt(file + [0], "p") } == .payload)
    }

    @Test(arguments: [21, 22, 64, 99])
    func `a work factor that would take more than a gigabyte is refused before memory is taken`(factor: Int) throws {
        let file = try Age.encrypt(secret("x"), passphrase: secret("p"), workFactor: quick)
        let text = String(decoding: file.prefix(60), as: UTF8.self)
        let end = try #require(text.range(of: " \(quick)\n"))
        let changed =
            Array(text[..<end.lowerBound].utf8) + Array(" \(factor)\n".utf8)
            + file[text[..<end.upperBound].utf8.count...]
        #expect(code { _ = try decrypt(changed, "p") } == .header)
    }

    @Test func `a file for a key is not one for a passphrase`() throws {
        let identity = AgeIdentity.generate()
        let file = try Age.encrypt([1, 2, 3], to: [identity.recipient])
        #expect(!file.withUnsafeBytes { Age.isUnderPassphrase($0) })
        #expect(code { _ = try decrypt(file, "p") } == .noMatch)
        let other = try Age.encrypt(secret("x"), passphrase: secret("p"), workFactor: quick)
        #expect(code { _ = try Age.decrypt(other, identities: [identity], maximumByteCount: 10) } == .noMatch)
    }

    @Test func `a secret of more than one chunk is refused`() throws {
        // As `age -p` would make it: the same header, two chunks.
        let identity = AgeIdentity.generate()
        let long = try Age.encrypt([UInt8](repeating: 1, count: 70_000), to: [identity.recipient])
        let short = try Age.encrypt(secret("x"), passphrase: secret("p"), workFactor: quick)
        let header = try #require(try AgeHeader.parse(short))
        let payload = long[try #require(try AgeHeader.parse(long)).byteCount...]
        #expect(code { _ = try decrypt(Array(short[..<header.byteCount]) + payload, "p") } == .payload)
    }
}

/// Both directions with the program itself, which asks a terminal.
@Suite("Passphrases and stock age", .timeLimit(.minutes(2)))
struct StockPassphraseTests {
    /// Runs a program on a terminal of its own and answers each question for a passphrase with the next of the answers.
    private static let terminal = """
        import os,pty,signal,sys
        signal.alarm(60)
        answers=sys.argv[1].split('|'); pid,fd=pty.fork()
        if pid==0: os.execvp(sys.argv[2],sys.argv[2:])
        seen=b''
        try:
            while True:
                data=os.read(fd,1000)
                if not data: break
                seen+=data
                if answers and b'passphrase' in seen.lower() and seen.rstrip().endswith(b':'):
                    os.write(fd,answers.pop(0).encode()+b'\\n'); seen=b''
        except OSError: pass
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
        """

    private func run(_ folder: URL, answers: [String], _ arguments: [String]) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", Self.terminal, answers.joined(separator: "|")] + arguments
        process.currentDirectoryURL = folder
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus
    }

    private func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("age-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }

    private func secret(_ text: String) -> SecretBytes { Array(text.utf8).withUnsafeBytes { SecretBytes(copying: $0) } }

    @Test func `age opens what we encrypt to a passphrase, and takes it as an identity file`() throws {
        try withFolder { folder in
            let identity = AgeIdentity.generate()
            let content = AgeIdentityFile.serialize(identity, createdAt: "2026-11-20T02:00:00Z")
            let file = try Age.encrypt(content, passphrase: secret("correct horse"))
            try Data(file).write(to: folder.appendingPathComponent("key.age"))
            #expect(try run(folder, answers: ["correct horse"], ["age", "-d", "-o", "key", "key.age"]) == 0)
            let opened = Array(try Data(contentsOf: folder.appendingPathComponent("key")))
            #expect(opened == content.withUnsafeBytes { Array($0) })
            #expect(try run(folder, answers: ["wrong"], ["age", "-d", "-o", "other", "key.age"]) != 0)
            try Data(Age.encrypt([1, 2, 3], to: [identity.recipient])).write(to: folder.appendingPathComponent("a"))
            #expect(
                try run(folder, answers: ["correct horse"], ["age", "-d", "-i", "key.age", "-o", "b", "a"]) == 0)
            #expect(Array(try Data(contentsOf: folder.appendingPathComponent("b"))) == [1, 2, 3])
        }
    }

    @Test func `we open what age encrypts to a passphrase`() throws {
        try withFolder { folder in
            let content = AgeIdentityFile.serialize(.generate(), createdAt: "now")
            try content.withUnsafeBytes { try Data($0).write(to: folder.appendingPathComponent("key")) }
            #expect(
                try run(folder, answers: ["correct horse", "correct horse"], ["age", "-p", "-o", "key.age", "key"]) == 0
            )
            let file = Array(try Data(contentsOf: folder.appendingPathComponent("key.age")))
            let opened = try file.withUnsafeBytes { try Age.decrypt($0, passphrase: secret("correct horse")) }
            #expect(opened.isEqual(to: content))
        }
    }
}
