import AgeFormat
import BackupNames
import CryptoPrimitives
import Foundation
import OrgKeys
import Testing

@Suite("Key directory", .timeLimit(.minutes(1)))
struct KeyDirectoryTests {
    private let folder: TemporaryFolder
    private let directory: KeyDirectory
    private let acme: ResourceName

    init() throws {
        folder = try TemporaryFolder()
        directory = KeyDirectory(path: folder.path + "/holdfast/keys")
        acme = try ResourceName("acme")
    }

    private func code(_ body: () throws -> Void) -> KeyError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? KeyError)?.code
        }
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    private func importKey(_ org: ResourceName, _ text: [UInt8]) throws -> OrgKey {
        try text.withUnsafeBytes { try directory.importKey(org, $0) }
    }

    private func create(_ org: ResourceName) throws -> OrgKey {
        try directory.create(org, createdAt: "2026-11-20T02:00:00Z")
    }

    private func write(_ name: String, _ text: String, mode: Int = 0o600) throws {
        let path = directory.path + "/" + name
        try FileManager.default.createDirectory(atPath: directory.path, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    @Test func `a new key is readable by its owner only, and so is its folder`() throws {
        let key = try create(acme)
        #expect(key.canRead)
        #expect(try mode(directory.path + "/acme.agekey") == 0o600)
        #expect(try mode(directory.path) == 0o700)
        #expect(try directory.list() == [acme])
        let read = try directory.key(for: acme)
        #expect(read.recipient == key.recipient)
        #expect(read.currentSealKey.isEqual(to: key.currentSealKey))
        #expect(read.identities.count == 1)
    }

    @Test func `the seal key is HKDF-SHA-256 of the secret with the info of the format`() throws {
        let key = try create(acme)
        let identity = try #require(key.identities.first)
        let expected = HKDFSHA256.deriveKey(
            from: identity.secretKey, salt: [], info: Array("holdfast/manifest/v1".utf8), count: 32)
        #expect(key.currentSealKey.isEqual(to: expected))
    }

    @Test func `stock age-keygen reads a new key and finds the same recipient`() throws {
        let key = try create(acme)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["age-keygen", "-y", directory.path + "/acme.agekey"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(text == key.recipient.string + "\n")
    }

    @Test func `a key made by stock age-keygen is taken in as it is`() throws {
        let path = folder.path + "/stock"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["age-keygen", "-o", path]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let text = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        let key = try importKey(acme, text)
        #expect(bytes(try directory.exportIdentity(acme)) == text)
        #expect(String(decoding: text, as: UTF8.self).contains(key.recipient.string))
    }

    @Test(arguments: ["acme.agekey", "acme.writekey"])
    func `nothing of a key's name is ever overwritten`(_ name: String) throws {
        let identity = AgeIdentityFile.serialize(.generate(), createdAt: "now")
        let path = directory.path + "/" + name
        try FileManager.default.createDirectory(atPath: directory.path, withIntermediateDirectories: true)
        let makers: [() throws -> Void] = [
            { try write(name, "precious") },
            { try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: folder.path + "/nowhere") },
            { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) },
        ]
        for make in makers {
            try make()
            #expect(code { _ = try create(acme) } == .exists)
            #expect(code { _ = try importKey(acme, bytes(identity)) } == .exists)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [name])
            if let data = FileManager.default.contents(atPath: path) { #expect(data == Data("precious".utf8)) }
            try FileManager.default.removeItem(atPath: path)
        }
        #expect(!FileManager.default.fileExists(atPath: folder.path + "/nowhere"))
    }

    @Test func `two makers of one key at a time make one`() async throws {
        let (directory, acme) = (directory, acme)
        let made = await withTaskGroup(of: AgeRecipient?.self) { group in
            for _ in 0..<16 {
                group.addTask { try? directory.create(acme, createdAt: "2026-11-20T02:00:00Z").recipient }
            }
            return await group.reduce(into: []) { $0 += $1.map { [$0] } ?? [] }
        }
        #expect(made == [try directory.key(for: acme).recipient])
    }

    @Test(arguments: [0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o644])
    func `a key that others may read or change is refused`(_ mode: Int) throws {
        _ = try create(acme)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: directory.path + "/acme.agekey")
        #expect(code { _ = try directory.key(for: acme) } == .insecureMode)
        #expect(code { _ = try directory.exportIdentity(acme) } == .insecureMode)
        #expect(code { _ = try directory.exportWriteOnly(acme) } == .insecureMode)
        try write("other.writekey", "", mode: mode)
        #expect(code { _ = try directory.key(for: try ResourceName("other")) } == .insecureMode)
    }

    @Test func `0400 is as good as 0600`() throws {
        _ = try create(acme)
        try FileManager.default.setAttributes([.posixPermissions: 0o400], ofItemAtPath: directory.path + "/acme.agekey")
        #expect(try directory.key(for: acme).canRead)
    }

    @Test func `a folder or a key that is not there is absent`() throws {
        #expect(try directory.list().isEmpty)
        #expect(code { _ = try directory.key(for: acme) } == .absent)
        #expect(code { _ = try directory.exportIdentity(acme) } == .absent)
        #expect(code { _ = try directory.exportWriteOnly(acme) } == .absent)
    }

    @Test func `what cannot be read is inaccessible, not absent`() throws {
        try Data().write(to: URL(fileURLWithPath: folder.path + "/file"))
        let directory = KeyDirectory(path: folder.path + "/file")
        #expect(code { _ = try directory.list() } == .inaccessible)
        #expect(code { _ = try directory.key(for: acme) } == .inaccessible)
        #expect(code { _ = try directory.create(acme, createdAt: "now") } == .inaccessible)
    }

    @Test(arguments: [
        "", "\n", "# only a comment\n", "AGE-SECRET-KEY-1", "age1notanidentity\n", "\0\0\0\0", "recipient: age1x\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n", String(repeating: "#", count: 70_000),
    ])
    func `a malformed key file is refused and never taken in`(_ text: String) throws {
        try write("acme.agekey", text)
        let expected: KeyError.Code = text.utf8.count > 65536 ? .inaccessible : .malformed
        #expect(code { _ = try directory.key(for: acme) } == expected)
        let other = try ResourceName("other")
        #expect(code { _ = try importKey(other, Array(text.utf8)) } == .malformed)
        #expect(try directory.list() == [acme])
    }

    @Test func `an error about a key names its file and no part of the key`() throws {
        let text = String(decoding: bytes(AgeIdentityFile.serialize(.generate(), createdAt: "now")), as: UTF8.self)
        let secret = try #require(text.split(separator: "\n").first { $0.hasPrefix("AGE-SECRET-KEY-1") })
        try write("acme.agekey", String(text.dropLast(2)) + "!\n")
        do {
            _ = try directory.key(for: acme)
            Issue.record("a damaged identity is taken")
        } catch {
            #expect(error.description.contains(directory.path + "/acme.agekey"))
            #expect(!"\(error) \(String(describing: error.cause))".contains(secret.dropFirst(16).prefix(8)))
        }
    }

    @Test func `a file of several identities seals with its first and reads with all`() throws {
        let (first, second) = (AgeIdentity.generate(), AgeIdentity.generate())
        let text = [first, second].flatMap { bytes(AgeIdentityFile.serialize($0, createdAt: "now")) }
        let key = try importKey(acme, text)
        #expect(key.recipient == first.recipient)
        #expect(key.identities.map(\.recipient) == [first.recipient, second.recipient])
    }

    @Test func `a write-only key goes to another host and cannot read there`() throws {
        let key = try create(acme)
        let exported = bytes(try directory.exportWriteOnly(acme))
        let other = KeyDirectory(path: folder.path + "/other")
        let imported = try exported.withUnsafeBytes { try other.importKey(acme, $0) }
        #expect(!imported.canRead)
        #expect(imported.recipient == key.recipient)
        #expect(imported.currentSealKey.isEqual(to: key.currentSealKey))
        #expect(try mode(other.path + "/acme.writekey") == 0o600)
        #expect(!FileManager.default.fileExists(atPath: other.path + "/acme.agekey"))
        #expect(bytes(try other.exportWriteOnly(acme)) == exported)
        #expect(code { _ = try other.exportIdentity(acme) } == .writeOnly)
        #expect(!String(decoding: exported, as: UTF8.self).contains("AGE-SECRET-KEY"))
        let secret = bytes(try #require(key.identities.first).secretKey)
        let digits = secret.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(!String(decoding: exported, as: UTF8.self).contains(digits))
    }

    @Test(
        arguments: [
            { $0.replacingOccurrences(of: "seal-key: ", with: "seal-key:") },
            { $0.replacingOccurrences(of: "recipient: age1", with: "recipient: age2") },
            { $0 + "recipient: age1\n" }, { $0 + "more\n" }, { String($0.dropLast(2)) + "\n" },
            { String($0.dropLast(3)) + "g\n" },
            { $0.split(separator: "\n").filter { !$0.hasPrefix("seal") }.joined(separator: "\n") },
            { $0.split(separator: "\n").filter { !$0.hasPrefix("recipient") }.joined(separator: "\n") },
        ] as [@Sendable (String) -> String])
    func `a malformed write-only key is refused`(_ change: @Sendable (String) -> String) throws {
        _ = try create(acme)
        let text = String(decoding: bytes(try directory.exportWriteOnly(acme)), as: UTF8.self)
        let other = try ResourceName("other")
        try write("other.writekey", change(text))
        #expect(code { _ = try directory.key(for: other) } == .malformed)
        #expect(code { _ = try importKey(try ResourceName("third"), Array(change(text).utf8)) } == .malformed)
    }

    @Test func `where both kinds of key are there, the one that reads is used`() throws {
        _ = try create(acme)
        try write("acme.writekey", "whatever")
        #expect(try directory.key(for: acme).canRead)
        #expect(try directory.list() == [acme])
    }

    @Test func `only files of usable names are listed, in order`() throws {
        for name in ["b.agekey", "a.writekey", "c.agekey", "c.writekey", ".x.agekey", "notes.txt", ".agekey"] {
            try write(name, "")
        }
        #expect(try directory.list().map(\.description) == ["a", "b", "c"])
    }
}
