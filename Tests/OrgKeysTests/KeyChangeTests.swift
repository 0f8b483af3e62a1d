import AgeFormat
import BackupNames
import CryptoPrimitives
import Foundation
import OrgKeys
import Testing

@Suite("Keys that change", .timeLimit(.minutes(1)))
struct KeyChangeTests {
    private let folder: TemporaryFolder
    private let directory: KeyDirectory
    private let acme: ResourceName

    init() throws {
        folder = try TemporaryFolder()
        directory = KeyDirectory(path: folder.path + "/keys")
        acme = try ResourceName("acme")
    }

    private var keyFile: String { directory.path + "/acme.agekey" }

    private func code(_ body: () throws -> Void) -> KeyError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? KeyError)?.code
        }
    }

    private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

    private func identityFile(_ identity: AgeIdentity, _ createdAt: String? = nil) -> [UInt8] {
        bytes(AgeIdentityFile.serialize(identity, createdAt: createdAt))
    }

    @discardableResult
    private func add(_ text: [UInt8]) throws -> OrgKey { try text.withUnsafeBytes { try directory.addKey(acme, $0) } }

    @discardableResult
    private func importKey(_ text: [UInt8]) throws -> OrgKey {
        try text.withUnsafeBytes { try directory.importKey(acme, $0) }
    }

    private func content() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: keyFile))) }

    private func allow(_ now: OrgKey, _ remaining: OrgKey?) {}

    // MARK: Rotation

    @Test func `a rotation puts a new identity first and loses none`() throws {
        let first = try directory.create(acme, createdAt: "2026-01-01T00:00:00Z")
        let second = try directory.rotate(acme, createdAt: "2026-02-01T00:00:00Z")
        let third = try directory.rotate(acme, createdAt: "2026-03-01T00:00:00Z")
        let key = try directory.key(for: acme)
        #expect(key.recipient == third.recipient)
        #expect(key.identities.map(\.recipient) == [third, second, first].map(\.recipient))
        #expect(zip(key.sealKeys, [third, second, first]).allSatisfy { $0.isEqual(to: $1.currentSealKey) })
        #expect(
            try directory.entries(of: acme) == [
                KeyEntry(recipient: third.recipient, createdAt: "2026-03-01T00:00:00Z", isCurrent: true),
                KeyEntry(recipient: second.recipient, createdAt: "2026-02-01T00:00:00Z", isCurrent: false),
                KeyEntry(recipient: first.recipient, createdAt: "2026-01-01T00:00:00Z", isCurrent: false),
            ])
        let attributes = try FileManager.default.attributesOfItem(atPath: keyFile)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["acme.agekey"])
    }

    @Test func `whatever stands in the file stays, comments and missing line feeds too`() throws {
        let old = AgeIdentity.generate()
        let text = Array("# mine\r\n\n".utf8) + bytes(old.encoded())
        try importKey(text)
        let key = try directory.rotate(acme, createdAt: "now")
        #expect(try content().suffix(text.count + 1) == text + [UInt8(ascii: "\n")])
        #expect(key.identities.last?.recipient == old.recipient)
    }

    @Test func `stock age opens with the rotated file what each of its identities was sent`() throws {
        let keys = [try directory.create(acme, createdAt: "1"), try directory.rotate(acme, createdAt: "2")]
        for key in keys {
            let file = try Age.encrypt([1, 2, 3], to: [key.recipient])
            let path = folder.path + "/file"
            try Data(file).write(to: URL(fileURLWithPath: path))
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["age", "-d", "-i", keyFile, path]
            let output = Pipe()
            process.standardOutput = output
            try process.run()
            let plaintext = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            #expect(Array(plaintext) == [1, 2, 3])
        }
    }

    @Test func `rotations at the same time all count`() async throws {
        let first = try directory.create(acme, createdAt: "first").recipient
        let (directory, acme) = (directory, acme)
        let made = await withTaskGroup(of: AgeRecipient?.self) { group in
            for number in 0..<16 {
                group.addTask { try? directory.rotate(acme, createdAt: "\(number)").recipient }
            }
            return await group.reduce(into: Set<AgeRecipient>()) { if let recipient = $1 { $0.insert(recipient) } }
        }
        #expect(made.count == 16)
        let recipients = try directory.key(for: acme).identities.map(\.recipient)
        #expect(Set(recipients) == made.union([first]) && recipients.count == 17)
        #expect(recipients.last == first)
    }

    @Test func `what an interrupted change left is removed by the next one`() throws {
        _ = try directory.create(acme, createdAt: "now")
        let left = directory.path + "/.acme.agekey.1f2e.tmp"
        let others = directory.path + "/.other.agekey.1f2e.tmp"
        for path in [left, others] { try Data("AGE-SECRET-KEY-1…".utf8).write(to: URL(fileURLWithPath: path)) }
        _ = try directory.rotate(acme, createdAt: "now")
        #expect(!FileManager.default.fileExists(atPath: left))
        #expect(FileManager.default.fileExists(atPath: others))
    }

    @Test(.enabled(if: geteuid() == 0, "only root gives files away"))
    func `the file's owner stays its owner`() throws {
        _ = try directory.create(acme, createdAt: "now")
        #expect(chown(keyFile, 1234, 1235) == 0)
        _ = try directory.rotate(acme, createdAt: "now")
        let attributes = try FileManager.default.attributesOfItem(atPath: keyFile)
        #expect(attributes[.ownerAccountID] as? Int == 1234)
        #expect(attributes[.groupOwnerAccountID] as? Int == 1235)
    }

    @Test func `a key that is absent, write-only, malformed, open to others or a link is not rotated`() throws {
        #expect(code { _ = try directory.rotate(acme, createdAt: "now") } == .absent)
        _ = try directory.create(acme, createdAt: "now")
        let good = try content()
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: keyFile)
        #expect(code { _ = try directory.rotate(acme, createdAt: "now") } == .insecureMode)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: keyFile)
        let writeOnly = bytes(try directory.exportWriteOnly(acme))
        try FileManager.default.moveItem(atPath: keyFile, toPath: folder.path + "/elsewhere")
        try FileManager.default.createSymbolicLink(atPath: keyFile, withDestinationPath: folder.path + "/elsewhere")
        #expect(code { _ = try directory.rotate(acme, createdAt: "now") } == .inaccessible)
        #expect(Array(try Data(contentsOf: URL(fileURLWithPath: folder.path + "/elsewhere"))) == good)
        try FileManager.default.removeItem(atPath: keyFile)
        try importKey(writeOnly)
        #expect(code { _ = try directory.rotate(acme, createdAt: "now") } == .writeOnly)
    }

    @Test func `a file that would become too long to be read is left as it was`() throws {
        let filler = Array(("#" + String(repeating: "x", count: 65_300) + "\n").utf8)
        try importKey(filler + identityFile(.generate()))
        let before = try content()
        #expect(code { _ = try directory.rotate(acme, createdAt: "now") } == .inaccessible)
        #expect(try content() == before)
    }

    // MARK: Several identities

    @Test func `further identities go behind those that are there, each once`() throws {
        let current = try directory.create(acme, createdAt: "now").recipient
        let (first, second) = (AgeIdentity.generate(), AgeIdentity.generate())
        try add(identityFile(first, "2025-01-01T00:00:00Z"))
        let key = try add(identityFile(first) + identityFile(second))
        #expect(key.recipient == current)
        #expect(key.identities.map(\.recipient) == [current, first.recipient, second.recipient])
        #expect(try directory.entries(of: acme).map(\.createdAt) == ["now", "2025-01-01T00:00:00Z", nil])
        let before = try content()
        try add(identityFile(second))
        #expect(try content() == before)
        #expect(code { try importKey(identityFile(.generate())) } == .exists)
    }

    @Test func `adding where there is no key is importing`() throws {
        let identity = AgeIdentity.generate()
        #expect(try add(identityFile(identity)).recipient == identity.recipient)
        #expect(try content() == identityFile(identity))
    }

    @Test func `what is no key file adds nothing`() throws {
        _ = try directory.create(acme, createdAt: "now")
        let before = try content()
        #expect(code { try add(Array("nothing\n".utf8)) } == .malformed)
        #expect(code { try add(bytes(try directory.exportWriteOnly(acme))) } == .exists)
        #expect(try content() == before)
    }

    // MARK: Write-only hosts

    @Test func `a write-only host gets the new recipient and keeps the seal keys of the old ones`() throws {
        let host = KeyDirectory(path: folder.path + "/host")
        func give(_ secret: SecretBytes) throws -> OrgKey {
            try secret.withUnsafeBytes { try host.addKey(acme, $0) }
        }
        let first = try directory.create(acme, createdAt: "1")
        _ = try give(directory.exportWriteOnly(acme))
        let second = try directory.rotate(acme, createdAt: "2")
        // The identity is gone before the host hears of the new one: the host's own seal key counts on.
        try directory.remove(acme, first.recipient, isAllowed: allow)
        let key = try give(directory.exportWriteOnly(acme))
        #expect(!key.canRead)
        #expect(key.recipient == second.recipient)
        #expect(key.sealKeys.count == 2)
        #expect(key.currentSealKey.isEqual(to: second.currentSealKey))
        #expect(key.sealKeys[1].isEqual(to: first.currentSealKey))
        let read = try host.key(for: acme)
        #expect(read.recipient == second.recipient && read.sealKeys.count == 2)
        #expect(try give(directory.exportWriteOnly(acme)).sealKeys.count == 2)
    }

    @Test func `a write-only key holds the seal keys of all identities, and a file of one is still read`() throws {
        let first = try directory.create(acme, createdAt: "1")
        let old = bytes(try directory.exportWriteOnly(acme))
        #expect(String(decoding: old, as: UTF8.self).components(separatedBy: "seal-key: ").count == 2)
        _ = try directory.rotate(acme, createdAt: "2")
        let new = String(decoding: bytes(try directory.exportWriteOnly(acme)), as: UTF8.self)
        #expect(new.components(separatedBy: "seal-key: ").count == 3)
        #expect(!new.contains(first.recipient.string))
        let host = KeyDirectory(path: folder.path + "/host")
        #expect(try old.withUnsafeBytes { try host.importKey(acme, $0) }.sealKeys.count == 1)
    }

    @Test func `a host that could only write reads once it is given the identities`() throws {
        let host = KeyDirectory(path: folder.path + "/host")
        _ = try directory.create(acme, createdAt: "1")
        _ = try directory.exportWriteOnly(acme).withUnsafeBytes { try host.importKey(acme, $0) }
        let key = try directory.exportIdentity(acme).withUnsafeBytes { try host.addKey(acme, $0) }
        #expect(key.canRead)
        #expect(try host.key(for: acme).canRead)
    }

    // MARK: Removal

    @Test func `an identity goes with its comments, and the rest stays as it is`() throws {
        let identities = (0..<3).map { _ in AgeIdentity.generate() }
        let texts = identities.enumerated().map { identityFile($1, "\($0)") }
        let text = Array("# a file of three\n".utf8) + texts[0] + Array("\n# between\n".utf8) + texts[1] + texts[2]
        try importKey(text)
        try directory.remove(acme, identities[1].recipient, isAllowed: allow)
        #expect(try content() == Array("# a file of three\n".utf8) + texts[0] + Array("\n# between\n".utf8) + texts[2])
        try directory.remove(acme, identities[0].recipient, isAllowed: allow)
        #expect(try directory.key(for: acme).recipient == identities[2].recipient)
        try directory.remove(acme, identities[2].recipient, isAllowed: allow)
        #expect(code { _ = try directory.key(for: acme) } == .absent)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [])
    }

    @Test func `what is asked before a removal sees what would stay, and can refuse`() throws {
        let first = try directory.create(acme, createdAt: "1")
        let second = try directory.rotate(acme, createdAt: "2")
        let before = try content()
        struct Refusal: Error {}
        var seen: [AgeRecipient]?
        #expect(throws: Refusal.self) {
            try directory.remove(acme, second.recipient) { now, remaining in
                #expect(now.identities.count == 2)
                seen = remaining?.identities.map(\.recipient)
                throw Refusal()
            }
        }
        #expect(seen == [first.recipient])
        #expect(throws: Refusal.self) {
            try directory.remove(acme, nil) { _, remaining in
                #expect(remaining == nil)
                throw Refusal()
            }
        }
        #expect(try content() == before)
        #expect(
            code { try directory.remove(acme, AgeIdentity.generate().recipient, isAllowed: allow) } == .noSuchIdentity)
    }

    @Test func `without a recipient all keys of the org go, and no other org's`() throws {
        _ = try directory.create(acme, createdAt: "1")
        let other = try ResourceName("other")
        _ = try directory.create(other, createdAt: "1")
        try Data("whatever".utf8).write(to: URL(fileURLWithPath: directory.path + "/acme.writekey"))
        try directory.remove(acme, nil, isAllowed: allow)
        #expect(try directory.list() == [other])
    }
}
