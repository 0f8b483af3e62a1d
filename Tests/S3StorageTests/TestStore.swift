import CryptoPrimitives
import Foundation
import HTTPTransport
import Storage
import TestSupport
import Workers

@testable import S3Storage

/// A store on a new bucket of a real server, directly or through the lab.
struct TestStore {
    let store: S3Store
    let bucket: String

    init(
        _ server: S3Server, through lab: LabProxy? = nil, abilities: S3Abilities? = nil,
        uploadByteCount: Int = 64 << 20, bucketHeaders: [(name: String, value: String)] = [],
        _ change: (inout S3Settings) -> Void = { _ in }
    ) throws {
        bucket = "test-" + UUID().uuidString.lowercased()
        let direct = try Self.settings(server, server.endpoint, bucket, isThroughLab: false)
        let maker = S3Client(settings: direct, credentials: Self.credentials(server))
        defer { maker.close() }
        _ = try maker.send(S3Request(.put, nil, headers: bucketHeaders, patience: .seconds(20)))
        var settings = try Self.settings(server, lab?.endpoint ?? server.endpoint, bucket, isThroughLab: lab != nil)
        change(&settings)
        store = S3Store(
            settings: settings, credentials: Self.credentials(server), abilitiesPath: nil,
            uploadMemory: UploadShare(of: BufferPool(capacityByteCount: uploadByteCount), isOnlyOne: true))
        if let abilities { store.assume(abilities) }
    }

    private static func settings(
        _ server: S3Server, _ endpoint: String, _ bucket: String, isThroughLab: Bool
    ) throws -> S3Settings {
        guard let endpoint = S3Endpoint(endpoint) else { throw S3Failure(.invalidKey, "no endpoint: \(endpoint)") }
        var settings = S3Settings(name: server.kind.rawValue, endpoint: endpoint, bucket: bucket, region: server.region)
        settings.partByteCount = 5 << 20
        settings.readPatienceSeconds = 20
        settings.uploadPatienceSeconds = 20
        settings.connectMilliseconds = 2000
        // Shorter where a lab stands between, which makes what stalls.
        settings.stallSeconds = isThroughLab ? 1 : 10
        return settings
    }

    static func credentials(_ server: S3Server, secret: String? = nil) -> S3Credentials {
        let key = Array((secret ?? server.secretKey).utf8).withUnsafeBytes { SecretBytes(copying: $0) }
        return S3Credentials(accessKey: server.accessKey, secretKey: key, origin: "the test")
    }
}

/// Bytes that differ everywhere.
func sample(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var value = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    var bytes = [UInt8](repeating: 0, count: count)
    for index in stride(from: 0, to: count, by: 8) {
        // xorshift64 of Marsaglia.
        value ^= value << 13
        value ^= value >> 7
        value ^= value << 17
        withUnsafeBytes(of: value) { word in
            for offset in 0..<min(8, count - index) { bytes[index + offset] = word[offset] }
        }
    }
    return bytes
}

extension ObjectStore {
    func put(_ key: String, _ bytes: [UInt8]) throws -> ObjectFacts {
        let key = try ObjectKey(key)
        return try bytes.withUnsafeBytes { try putIfAbsent(key, $0) }
    }

    func bytes(_ key: String, at offset: UInt64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        let key = try ObjectKey(key)
        try bytes.withUnsafeMutableBytes { try read(key, at: offset, into: $0) }
        return bytes
    }

    func upload(_ key: String, _ bytes: [UInt8], step: Int = 1 << 20) throws -> ObjectFacts {
        let upload = try upload(ObjectKey(key))
        do {
            for start in stride(from: 0, to: bytes.count, by: step) {
                try bytes[start..<min(bytes.count, start + step)].withUnsafeBytes { try upload.append($0) }
            }
            return try upload.complete()
        } catch {
            upload.abort()
            throw error
        }
    }
}

func code(_ body: () throws -> Void) -> StorageError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? StorageError)?.code
    }
}

extension S3Abilities {
    /// As the probe finds them; `AbilityTests` holds this.
    static let ceph = S3Abilities(
        putIfAbsent: .honoured, completeIfAbsent: .ignored, checksPayloadHash: true, entityTagIsMD5: true,
        entityTagOfPartsIsMD5: true, getIfMatch: .honoured, listsInByteOrder: true, completionTagIsFinal: true,
        deletesMany: true, copiesParts: true)
    static let seaweedfs = S3Abilities(
        putIfAbsent: .honoured, completeIfAbsent: .honoured, checksPayloadHash: false, entityTagIsMD5: true,
        entityTagOfPartsIsMD5: true, getIfMatch: .honoured, listsInByteOrder: false, completionTagIsFinal: true,
        deletesMany: true, copiesParts: true)
}
