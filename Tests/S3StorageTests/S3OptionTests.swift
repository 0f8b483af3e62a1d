import Foundation
import HTTPTransport
import Storage
import StorageTesting
import TestSupport
import Testing
import Workers

@testable import S3Storage

/// What the configuration may ask for beyond the usual, over a real server.
@Suite(
    "S3: options", .serialized, .timeLimit(.minutes(2)),
    .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
struct S3OptionTests {
    private func head(_ store: S3Store, _ key: String) throws -> HTTPResponse {
        try store.client.send(S3Request(.head, ObjectKey(key), patience: .seconds(5)))
    }

    @Test func `the bucket may be said in the host`() throws {
        let server = try S3Server.shared(.ceph)
        let port = server.address.split(separator: ":")[1]
        let endpoint = try #require(S3Endpoint("http://localhost:\(port)"))
        for check in ObjectStoreConformance.checks
        where [
            "an upload in uneven pieces is read back as one object", "objects are sorted by the bytes of their keys",
        ]
        .contains(check.name) {
            let bench = try TestStore(server) { settings in
                settings.endpoint = endpoint
                settings.addressing = .virtualHost
            }
            defer { bench.store.close() }
            try check.run(on: bench.store)
            let path = try TestStore(server)
            defer { path.store.close() }
            // The same bucket by its path: the host did lead there.
            var settings = path.store.client.settings
            settings.bucket = bench.bucket
            let other = S3Client(settings: settings, credentials: TestStore.credentials(server))
            defer { other.close() }
            let answer = try other.send(
                S3Request(.get, nil, query: [("list-type", "2")], patience: .seconds(5)))
            #expect(XMLTree(answer.body)?.all("Contents").isEmpty == false)
        }
    }

    @Test func `objects get the storage class and the lock that are configured, small ones and those of parts`() throws
    {
        let server = try S3Server.shared(.ceph)
        let bench = try TestStore(
            server, abilities: .ceph, bucketHeaders: [("x-amz-bucket-object-lock-enabled", "true")]
        ) { settings in
            settings.storageClass = "STANDARD"
            settings.objectLock = S3Settings.ObjectLock(mode: .governance, days: 1)
        }
        defer { bench.store.close() }
        _ = try bench.store.put("a/small", sample(100))
        _ = try bench.store.upload("a/parts", sample(6 << 20))
        for key in ["a/small", "a/parts"] {
            let response = try head(bench.store, key)
            #expect(response.header("x-amz-object-lock-mode") == "GOVERNANCE", "\(key)")
            #expect(response.header("x-amz-object-lock-retain-until-date") != nil, "\(key)")
        }
        #expect(
            try bench.store.bytes("a/parts", at: 5 << 20, count: 100)
                == Array(sample(6 << 20)[(5 << 20)..<(5 << 20) + 100]))
    }

    @Test(arguments: [S3Server.Kind.ceph, .seaweedfs].filter(\.isInstalled))
    func `a lock is set at upload, read back, lengthened and never shortened, and no byte stays after it`(
        kind: S3Server.Kind
    ) throws {
        let bench = try TestStore(
            try S3Server.shared(kind), abilities: kind == .ceph ? .ceph : .seaweedfs,
            bucketHeaders: [("x-amz-bucket-object-lock-enabled", "true")]
        ) { $0.objectLock = S3Settings.ObjectLock(mode: .governance, days: nil) }
        defer { bench.store.close() }
        let now = Int64(time(nil))
        let (locked, free) = (try ObjectKey("a/locked"), try ObjectKey("a/free"))
        let upload = try bench.store.upload(locked, lockedUntil: now + 4)
        try sample(6 << 20).withUnsafeBytes { try upload.append($0) }
        _ = try upload.complete()
        _ = try bench.store.put("a/free", sample(100))
        #expect(try bench.store.lockedUntil(locked) == now + 4)
        #expect(try bench.store.lockedUntil(free) == nil)
        #expect(code { _ = try bench.store.lockedUntil(ObjectKey("a/none")) } == .absent)
        try bench.store.lock(locked, until: now + 6)
        #expect(try bench.store.lockedUntil(locked) == now + 6)
        try bench.store.lock(locked, until: now + 5)
        #expect(try bench.store.lockedUntil(locked) == now + 6)
        #expect(code { try bench.store.purge(locked) } == .denied)
        #expect(try bench.store.head(locked).byteCount == 6 << 20)
        try bench.store.purge(free)
        try bench.store.purge(free)
        sleep(UInt32(max(0, now + 7 - Int64(time(nil)))))
        try bench.store.purge(locked)
        let versions = try bench.store.client.send(
            S3Request(.get, nil, query: [("versions", "")], patience: .seconds(5)))
        let tree = try #require(XMLTree(versions.body))
        #expect(tree.all("Version").isEmpty && tree.all("DeleteMarker").isEmpty)
    }

    @Test func `a lock that is not configured is refused before a byte is sent`() throws {
        let bench = try TestStore(try S3Server.shared(.ceph), abilities: .ceph)
        defer { bench.store.close() }
        #expect(code { _ = try bench.store.upload(ObjectKey("a/b"), lockedUntil: 1 << 32) } == .denied)
    }

    @Test func `a storage class that the server does not have is an error that names it`() throws {
        let bench = try TestStore(try S3Server.shared(.ceph), abilities: .ceph) { $0.storageClass = "NOSUCHCLASS" }
        defer { bench.store.close() }
        let error = #expect(throws: StorageError.self) { try bench.store.put("a/b", [1]) }
        #expect(error?.detail.contains("Storage") == true || error?.detail.contains("Invalid") == true)
    }

    @Test func `no error tells the secret`() throws {
        let server = try S3Server.shared(.ceph)
        let secret = "a-wrong-secret-that-nobody-may-see"
        var settings = try TestStore(server).store.client.settings
        settings.readPatienceSeconds = 1
        let store = S3Store(
            settings: settings, credentials: TestStore.credentials(server, secret: secret), abilitiesPath: nil,
            uploadMemory: UploadShare(of: BufferPool(capacityByteCount: 16 << 20), isOnlyOne: true))
        defer { store.close() }
        let error = #expect(throws: StorageError.self) { try store.head(ObjectKey("a/b")) }
        #expect(error?.code == .denied)
        var text = ""
        dump(error, to: &text)
        dump(store, to: &text)
        #expect(!text.contains(secret))
        #expect(code { try store.check() } == .denied)
    }
}
