import AgeFormat
import CryptoPrimitives
import Foundation
import Testing

@Suite("Stock age and age-keygen")
struct StockProgramTests {
    /// Runs a program with files for its streams, so that no pipe can fill up.
    private func run(_ folder: URL, _ arguments: [String], input: [UInt8] = []) throws -> (
        status: Int32, output: [UInt8]
    ) {
        let inputFile = folder.appendingPathComponent("input")
        let outputFile = folder.appendingPathComponent("output")
        try Data(input).write(to: inputFile)
        try Data().write(to: outputFile)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.currentDirectoryURL = folder
        process.standardInput = try FileHandle(forReadingFrom: inputFile)
        process.standardOutput = try FileHandle(forWritingTo: outputFile)
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, Array(try Data(contentsOf: outputFile)))
    }

    private func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("age-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder)
    }

    private func write(_ identity: AgeIdentity, _ folder: URL, _ name: String) throws {
        let file = AgeIdentityFile.serialize(identity, createdAt: "2026-11-20T02:00:00Z")
        try file.withUnsafeBytes { try Data($0).write(to: folder.appendingPathComponent(name)) }
    }

    private func random(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { SystemRandom.fill($0) }
        return bytes
    }

    @Test(.timeLimit(.minutes(1)), arguments: [0, 1, 65535, 65536, 65537, 131_072, 300_000])
    func `age opens what we encrypt, for each recipient`(size: Int) throws {
        try withFolder { folder in
            let identities = [AgeIdentity.generate(), .generate()]
            let plaintext = random(size)
            let file = try Age.encrypt(plaintext, to: identities.map(\.recipient))
            for identity in identities {
                try write(identity, folder, "key")
                let result = try run(folder, ["age", "-d", "-i", "key"], input: file)
                #expect(result.status == 0)
                #expect(result.output == plaintext)
            }
        }
    }

    @Test(.timeLimit(.minutes(1)), arguments: [0, 1, 65535, 65536, 65537, 131_072, 300_000])
    func `we open what age encrypts, with keys of age-keygen`(size: Int) throws {
        try withFolder { folder in
            let keyFile = try run(folder, ["age-keygen"]).output
            let identities = try keyFile.withUnsafeBytes { try AgeIdentityFile.parse($0) }
            let plaintext = random(size)
            let other = AgeIdentity.generate().recipient.string
            let recipient = try #require(identities.first).recipient.string
            let result = try run(folder, ["age", "-r", other, "-r", recipient], input: plaintext)
            #expect(result.status == 0)
            let file = result.output
            #expect(try Age.decrypt(file, identities: identities, maximumByteCount: size) == plaintext)
            let reader = try AgeRandomAccessReader(archiveByteCount: UInt64(file.count), identities: identities) {
                $1.copyBytes(from: file[Int($0)..<Int($0) + $1.count])
            }
            var bytes = [UInt8](repeating: 0, count: size)
            try bytes.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
            #expect(bytes == plaintext)
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `age-keygen derives the same recipient from our identity file`() throws {
        try withFolder { folder in
            let identity = AgeIdentity.generate()
            try write(identity, folder, "key")
            let result = try run(folder, ["age-keygen", "-y", "key"])
            #expect(String(decoding: result.output, as: UTF8.self) == identity.recipient.string + "\n")
        }
    }
}
