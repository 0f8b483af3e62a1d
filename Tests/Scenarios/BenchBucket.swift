import CryptoPrimitives
import Foundation
import HTTPTransport
import Storage
import TestSupport
import Workers

@testable import S3Storage

/// The bucket of one bench, seen straight at the server, past any lab: what is really there, and a way to spoil it.
final class BenchBucket {
    let name = "scenario-" + UUID().uuidString.lowercased()
    let server: S3Server
    private let client: S3Client

    init(_ server: S3Server, locks: Bool = false) throws {
        self.server = server
        guard let endpoint = S3Endpoint(server.endpoint) else {
            preconditionFailure("\(server.endpoint) is no endpoint")
        }
        let key = Array(server.secretKey.utf8).withUnsafeBytes { SecretBytes(copying: $0) }
        client = S3Client(
            settings: S3Settings(
                name: server.kind.rawValue, endpoint: endpoint, bucket: name, region: server.region),
            credentials: S3Credentials(accessKey: server.accessKey, secretKey: key, origin: "the bench"))
        let headers = locks ? [(name: "x-amz-bucket-object-lock-enabled", value: "true")] : []
        _ = try client.send(S3Request(.put, nil, headers: headers, patience: .seconds(20)))
    }

    deinit { client.close() }

    /// The keys of all objects, sorted; tests have fewer than a page of them.
    func keys() throws -> [String] {
        let document = try ask([("list-type", "2"), ("max-keys", "1000")])
        return document.all("Contents").compactMap { $0["Key"] }.sorted()
    }

    /// The keys of multipart uploads that nobody has completed or aborted.
    func unfinishedUploads() throws -> [String] {
        try ask([("uploads", "")]).all("Upload").compactMap { $0["Key"] }.sorted()
    }

    func read(_ key: String) throws -> [UInt8] {
        try client.send(S3Request(.get, ObjectKey(key), patience: .seconds(20)), limit: 1 << 30).body
    }

    func replace(_ key: String, with bytes: [UInt8]) throws {
        _ = try client.send(S3Request(.put, ObjectKey(key), patience: .seconds(20)), bytes: bytes)
    }

    func remove(_ key: String) throws {
        _ = try client.send(S3Request(.delete, ObjectKey(key), patience: .seconds(20)))
    }

    /// Removes the bytes of an object, not only its name; false where the server refuses.
    func removeVersion(of key: String) throws -> Bool {
        let key = try ObjectKey(key)
        let answer = try client.send(S3Request(.head, key, patience: .seconds(20)))
        let query = answer.header("x-amz-version-id").map { [(name: "versionId", value: $0)] } ?? []
        do throws(S3Failure) {
            _ = try client.send(S3Request(.delete, key, query: query, patience: .seconds(20)))
            return true
        } catch {
            guard error.code == .denied else { throw error }
            return false
        }
    }

    /// All versions of all objects, and the marks of removed ones.
    func versions() throws -> [String] {
        let document = try ask([("versions", "")])
        return (document.all("Version") + document.all("DeleteMarker")).compactMap { $0["Key"] }.sorted()
    }

    private func ask(_ query: [(name: String, value: String)]) throws -> XMLTree {
        let request = S3Request(.get, nil, query: query, patience: .seconds(20))
        let body = try client.send(request, limit: 16 << 20).body
        guard let document = XMLTree(body) else { preconditionFailure("\(server.kind) answers no document") }
        return document
    }
}
