import AgeFormat
import CryptoPrimitives
import Foundation
import Manifest
import Testing

/// The folder that holds `Tests` and `Sources`.
private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Suite("Sample manifests of released versions", .timeLimit(.minutes(1)))
struct SampleManifestTests {
    private static let versions = (1...Manifest.format).map { "v\($0)" }

    private func identity(_ folder: URL) throws -> AgeIdentity {
        let bytes = try Data(contentsOf: folder.appendingPathComponent("sample.agekey"))
        return try #require(try bytes.withUnsafeBytes { try AgeIdentityFile.parse($0) }.first)
    }

    private func sealKey(_ identity: AgeIdentity) -> SecretBytes {
        HKDFSHA256.deriveKey(from: identity.secretKey, salt: [], info: Array("holdfast/manifest/v1".utf8), count: 32)
    }

    @Test(arguments: versions)
    func `the sidecar of every released version opens and is authentic`(_ version: String) throws {
        let folder = root.appendingPathComponent("Tests/SampleArchives/\(version)")
        let identity = try identity(folder)
        let sidecar = Array(try Data(contentsOf: folder.appendingPathComponent("manifest.age")))
        let sealed = try ManifestSidecar.decrypt(sidecar, identities: [identity])
        let manifest = try Manifest(verifying: sealed, sealKeys: [sealKey(identity)])
        let hash = try String(contentsOf: folder.appendingPathComponent("disk.raw.sha256"), encoding: .utf8)
        #expect(hash.hasPrefix(manifest.rawSHA256.hexadecimal + "  "))
        let archive = Array(try Data(contentsOf: folder.appendingPathComponent("disk.raw.zst.age")))
        #expect(UInt64(archive.count) == manifest.archiveByteCount)
        #expect(SHA256Hasher.digest(of: archive) == manifest.archiveSHA256)
        #expect(manifest.partitions.map(\.byteCount) == [2 << 20, 1 << 20])
        #expect(manifest.sealed(with: sealKey(identity)) == sealed, "what is sealed again is the same, byte for byte")
    }
}
