import Storage
import StorageTesting
import TestSupport
import Testing

@testable import S3Storage

/// The contract of stores, over real servers.
@Suite("S3: the contract", .serialized, .timeLimit(.minutes(5)))
struct S3ConformanceTests {
    /// What a server cannot, whatever holdfast does, and why that is no harm.
    private static func exemption(_ server: S3Server.Kind, _ check: String) -> String? {
        switch (server, check) {
        case (.seaweedfs, "a prefix is free for other uses when its last object is gone"):
            "the folder of removed keys stays for a while; holdfast's keys never become folders"
        case (.juicefs, "an object deleted between pages does not disturb the listing"):
            "listings lag behind removals"
        case (.rclone, "deleting what is not there is success and touches nothing else"):
            "a folder is removed by its name; holdfast's keys never are folders"
        case (.rclone, "keys that differ in Unicode normalization only are two objects"):
            "keys are normalised; holdfast's names are ASCII"
        default: nil
        }
    }

    private func run(_ kind: S3Server.Kind, _ check: ObjectStoreConformance.Check) throws {
        let bench = try TestStore(try S3Server.shared(kind))
        defer { bench.store.close() }
        if let reason = Self.exemption(kind, check.name) {
            withKnownIssue(Comment(rawValue: reason), isIntermittent: true) { try check.run(on: bench.store) }
        } else {
            try check.run(on: bench.store)
        }
    }

    @Test(
        .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"), arguments: ObjectStoreConformance.checks)
    func `Ceph keeps it`(check: ObjectStoreConformance.Check) throws { try run(.ceph, check) }

    @Test(
        .enabled(if: S3Server.Kind.seaweedfs.isInstalled, "SeaweedFS is not installed"),
        arguments: ObjectStoreConformance.checks)
    func `SeaweedFS keeps it`(check: ObjectStoreConformance.Check) throws { try run(.seaweedfs, check) }

    @Test(
        .enabled(if: S3Server.Kind.swift.isInstalled, "Swift is not installed"),
        arguments: ObjectStoreConformance.checks)
    func `OpenStack Swift keeps it`(check: ObjectStoreConformance.Check) throws { try run(.swift, check) }

    @Test(
        .enabled(if: S3Server.Kind.juicefs.isInstalled, "JuiceFS is not installed"),
        arguments: ObjectStoreConformance.checks)
    func `JuiceFS keeps it`(check: ObjectStoreConformance.Check) throws { try run(.juicefs, check) }

    @Test(
        .enabled(if: S3Server.Kind.rclone.isInstalled, "rclone is not installed"),
        arguments: ObjectStoreConformance.checks)
    func `rclone keeps it`(check: ObjectStoreConformance.Check) throws { try run(.rclone, check) }
}

/// What the servers can do, as S3Storage.md says.
@Suite("S3: abilities", .serialized, .timeLimit(.minutes(2)))
struct AbilityTests {
    private static let expected: [S3Server.Kind: S3Abilities] = [
        .ceph: .ceph,
        .seaweedfs: .seaweedfs,
        .swift: S3Abilities(
            putIfAbsent: .refused, completeIfAbsent: .honoured, checksPayloadHash: true, entityTagIsMD5: true,
            entityTagOfPartsIsMD5: true, getIfMatch: .honoured, listsInByteOrder: true, completionTagIsFinal: true,
            deletesMany: true, copiesParts: true),
        .juicefs: S3Abilities(
            putIfAbsent: .ignored, completeIfAbsent: .ignored, checksPayloadHash: true, entityTagIsMD5: true,
            entityTagOfPartsIsMD5: true, getIfMatch: .honoured, listsInByteOrder: true, completionTagIsFinal: true,
            deletesMany: true, copiesParts: true),
        .rclone: S3Abilities(
            putIfAbsent: .ignored, completeIfAbsent: .ignored, checksPayloadHash: false, entityTagIsMD5: true,
            entityTagOfPartsIsMD5: false, getIfMatch: .ignored, listsInByteOrder: true, completionTagIsFinal: false,
            deletesMany: true, copiesParts: false),
    ]

    @Test(arguments: S3Server.Kind.allCases.filter(\.isInstalled))
    func `a probe finds what the server can do, and leaves nothing`(kind: S3Server.Kind) throws {
        let bench = try TestStore(try S3Server.shared(kind))
        defer { bench.store.close() }
        #expect(try bench.store.abilities() == Self.expected[kind])
        #expect(try bench.store.list(prefix: "", after: nil, limit: 10).objects == [])
        #expect(try bench.store.removeUnfinishedUploads(prefix: "", startedBefore: .max, alive: []) == [])
    }

    @Test(.enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
    func `what was found is remembered by the file, until it is about another bucket`() throws {
        let folder = try TemporaryFolder()
        let bench = try TestStore(try S3Server.shared(.ceph))
        defer { bench.store.close() }
        var settings = bench.store.client.settings
        let path = folder.path + "/backends/x.json"
        #expect(S3AbilitiesFile.read(path, for: settings) == nil)
        S3AbilitiesFile.write(.ceph, path, for: settings)
        #expect(S3AbilitiesFile.read(path, for: settings) == .ceph)
        settings.bucket = "another"
        #expect(S3AbilitiesFile.read(path, for: settings) == nil)
    }
}
