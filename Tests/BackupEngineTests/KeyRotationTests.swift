import AgeFormat
import BackupEngine
import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Manifest
import OrgKeys
import Storage
import StorageTesting
import Testing
internal import Workers

@Suite("Rotated keys", .timeLimit(.minutes(1)))
struct KeyRotationTests {
    private let bench: EngineBench
    private let acme: ResourceName
    private let keys: KeyDirectory

    init() throws {
        bench = try EngineBench()
        acme = try ResourceName("acme")
        keys = KeyDirectory(path: bench.folder + "/keys")
    }

    private var current: AgeRecipient { get throws { try keys.key(for: acme).recipient } }

    @Test func `what was made before a rotation and after it is read, verified and rebuilt`() throws {
        let images = (0..<3).map { testImage(200_000, seed: UInt64($0)) }
        var identifiers: [BackupIdentifier] = []
        for image in images {
            identifiers.append(try bench.backUp(image))
            _ = try keys.rotate(acme, createdAt: "now")
        }
        let recipients = try identifiers.map { try bench.engine.open($0).manifest.recipients }
        #expect(Set(recipients).count == 3)
        try bench.reopen(forgetsCatalog: true)
        let result = try bench.engine.rebuildCatalog(from: bench.engine.backend(bench.backendName))
        #expect(Set(result.registered) == Set(identifiers) && result.refused.isEmpty)
        for (identifier, image) in zip(identifiers, images) { #expect(try bench.restore(identifier) == image) }
    }

    @Test func `a backup that a rotation overtakes is sealed by the key it began with, and is read`() throws {
        let session = try BackupSession(
            engine: bench.engine, backend: bench.engine.backend(bench.backendName), disk: bench.disk(),
            consistency: "none")
        let before = try current
        _ = try keys.rotate(acme, createdAt: "now")
        let buffer = try session.takeFrameBuffer()
        buffer.bytes.copyBytes(from: [UInt8](repeating: 7, count: 100))
        try session.submit(buffer, count: 100)
        try session.finishUpload(declaredByteCount: nil)
        try session.register()
        #expect(try bench.engine.open(session.identifier).manifest.recipients == [before.string])
        #expect(try bench.restore(session.identifier) == [UInt8](repeating: 7, count: 100))
    }

    @Test func `a write-only host from before a rotation still checks what it made`() throws {
        let identifier = try bench.backUp(testImage(100_000, seed: 1))
        _ = try keys.rotate(acme, createdAt: "now")
        let exported = try keys.exportWriteOnly(acme)
        try keys.remove(acme, nil) { _, _ in }
        _ = try exported.withUnsafeBytes { try keys.importKey(acme, $0) }
        _ = try bench.engine.verify(identifier, .archive)
        let later = try bench.backUp(testImage(100_000, seed: 2))
        _ = try bench.engine.verify(later, .archive)
    }

    // MARK: Removal

    @Test func `the last key that opens a backup is not removed`() throws {
        let old = try current
        let identifier = try bench.backUp(testImage(100_000, seed: 1))
        #expect(bench.code { try bench.engine.removeKey(acme, old) } == .keyInUse)
        #expect(bench.code { try bench.engine.removeKey(acme, nil) } == .keyInUse)
        _ = try keys.rotate(acme, createdAt: "now")
        let new = try current
        #expect(bench.code { try bench.engine.removeKey(acme, old) } == .keyInUse)
        // Nothing is encrypted to the new one yet.
        #expect(bench.code { try bench.engine.removeKey(acme, new) } == nil)
        #expect(try bench.restore(identifier) == testImage(100_000, seed: 1))
        try bench.engine.remove(identifier)
        #expect(bench.code { try bench.engine.removeKey(acme, old) } == nil)
        #expect(bench.code { _ = try bench.engine.key(of: acme) } == .noKey)
    }

    @Test func `an identity is in use by its seal key too`() throws {
        // The archive opens with another identity, its recovery recipient; its manifest is sealed by this one alone.
        let recovery = AgeIdentity.generate()
        let sealer = try current
        try bench.reopen(orgs: [acme: OrgSettings(recoveryRecipients: [recovery.recipient])])
        let identifier = try bench.backUp(testImage(100_000, seed: 1))
        _ = try AgeIdentityFile.serialize(recovery, createdAt: nil).withUnsafeBytes { try keys.addKey(acme, $0) }
        #expect(bench.code { try bench.engine.removeKey(acme, sealer) } == .keyInUse)
        // The recovery key opens nothing that the other does not.
        #expect(bench.code { try bench.engine.removeKey(acme, recovery.recipient) } == nil)
        #expect(try bench.restore(identifier) == testImage(100_000, seed: 1))
    }

    @Test func `a key stays while a backup under way is encrypted to it`() throws {
        let old = try current
        let session = try BackupSession(
            engine: bench.engine, backend: bench.engine.backend(bench.backendName), disk: bench.disk(),
            consistency: "none")
        #expect(bench.code { try bench.engine.removeKey(acme, old) } == .busy)
        #expect(bench.code { try bench.engine.removeKey(acme, nil) } == .busy)
        session.abort()
        #expect(bench.code { try bench.engine.removeKey(acme, nil) } == nil)
    }
}
