import CryptoPrimitives
import Foundation

/// A published test vector of C2SP/CCTV: a head of `key: value` lines, an empty line, the age file.
struct AgeVector: Sendable, CustomStringConvertible {
    let name: String
    let expect: String
    let payloadSHA256: String?
    let identity: String?
    let passphrases: [String]
    let file: [UInt8]

    var description: String { name }

    /// Every file in Tests/Vectors/age: a new file there is a new case. All are published ones but those whose names start with `own_`.
    static let all: [AgeVector] = {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Vectors/age")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.sorted().map { name in
            guard let data = FileManager.default.contents(atPath: folder.appendingPathComponent(name).path) else {
                preconditionFailure("the vector \(name) cannot be read")
            }
            return AgeVector(name, Array(data))
        }
    }()

    private init(_ name: String, _ bytes: [UInt8]) {
        self.name = name
        var fields: [String: String] = [:]
        var passphrases: [String] = []
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: rest[..<end], as: UTF8.self)
            rest = rest[(end + 1)...]
            if line.isEmpty { break }
            let parts = line.split(separator: ":", maxSplits: 1)
            fields[String(parts[0])] = parts[1].trimmingCharacters(in: .whitespaces)
            if parts[0] == "passphrase" { passphrases.append(fields["passphrase"] ?? "") }
        }
        expect = fields["expect"] ?? ""
        payloadSHA256 = fields["payload"]
        identity = fields["identity"]
        self.passphrases = passphrases
        file = fields["compressed"] == "zlib" ? Self.inflate(Array(rest)) : Array(rest)
    }

    /// By Python, for zlib is no dependency of ours.
    private static func inflate(_ bytes: [UInt8]) -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c", "import sys,zlib; sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read()))",
        ]
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        do {
            try process.run()
        } catch {
            preconditionFailure("python3 does not start: \(error)")
        }
        // The vectors are small when compressed: they fit the pipe.
        input.fileHandleForWriting.write(Data(bytes))
        input.fileHandleForWriting.closeFile()
        let inflated = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        precondition(process.terminationStatus == 0, "a vector cannot be inflated")
        return Array(inflated)
    }
}
