import CryptoPrimitives
import Foundation
import SignatureV4
import Testing

/// One folder of the published suite: a request, and what each step makes of it.
struct SigningVector: CustomTestStringConvertible, Sendable {
    let name: String
    let folder: URL

    var testDescription: String { name }

    func text(_ ending: String) throws -> String {
        let path = folder.appendingPathComponent(folder.lastPathComponent + "." + ending)
        return String(decoding: try Data(contentsOf: path), as: UTF8.self)
    }

    /// Every folder with a `.req` in it.
    static func all() throws -> [SigningVector] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Vectors/sigv4").standardizedFileURL
        let paths = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
        return paths.compactMap { $0 as? URL }.filter { $0.pathExtension == "req" }
            .map { request in
                let folder = request.deletingLastPathComponent().standardizedFileURL
                return SigningVector(name: String(folder.path.dropFirst(root.path.count + 1)), folder: folder)
            }
            .sorted { $0.name < $1.name }
    }

    /// The request as a program would hold it: nothing encoded.
    func request() throws -> SignatureV4.Request {
        let text = try text("req")
        let parts = text.components(separatedBy: "\n\n")
        var lines = parts[0].components(separatedBy: "\n")
        var start = lines.removeFirst()
        let method = String(start.prefix { $0 != " " })
        start = String(start.dropFirst(method.count + 1).dropLast(" HTTP/1.1".count))
        let target = start.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var headers: [(name: String, value: String)] = []
        for line in lines where !line.isEmpty {
            if line.first == " ", let last = headers.popLast() {
                headers.append((last.name, last.value + "\n" + line))
            } else {
                let colon = try #require(line.firstIndex(of: ":"))
                headers.append((String(line[..<colon]), String(line[line.index(after: colon)...])))
            }
        }
        // One request comes with its session token beside it, which the program adds.
        if name == "get-vanilla-with-session-token" {
            let signed = try self.text("sreq").components(separatedBy: "\n")
            let token = try #require(signed.first { $0.hasPrefix("X-Amz-Security-Token:") })
            headers.append(("X-Amz-Security-Token", String(token.dropFirst("X-Amz-Security-Token:".count))))
        }
        let query = (target.count > 1 ? target[1] : "").split(separator: "&").map { pair in
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            return (name: halves[0].removingPercentEncoding ?? "", value: halves.count > 1 ? halves[1] : "")
        }
        let body = parts.dropFirst().joined(separator: "\n\n")
        // Normalising paths is what other services do and S3 does not: the request is given as it is after that.
        let path = name.hasPrefix("normalize-path/") ? Self.normalised(target[0]) : target[0]
        return SignatureV4.Request(
            method: method, path: path, query: query, headers: headers,
            payloadHash: SHA256Hasher.digest(of: Array(body.utf8)).hexadecimal)
    }

    private static func normalised(_ path: String) -> String {
        var segments: [Substring] = []
        for segment in path.split(separator: "/") where segment != "." {
            if segment == ".." { _ = segments.popLast() } else { segments.append(segment) }
        }
        return "/" + segments.joined(separator: "/") + (path.hasSuffix("/") && !segments.isEmpty ? "/" : "")
    }
}

@Suite("AWS Signature Version 4, the published suite")
struct SignatureV4Tests {
    private static let timestamp = "20150830T123600Z"

    private func signer() -> SignatureV4 {
        let secret = Array("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".utf8).withUnsafeBytes { SecretBytes(copying: $0) }
        return SignatureV4(accessKey: "AKIDEXAMPLE", secretKey: secret, region: "us-east-1", service: "service")
    }

    @Test func `the suite is there`() throws {
        #expect(try SigningVector.all().count >= 30)
    }

    @Test(arguments: try SigningVector.all())
    func `each step gives what is published`(vector: SigningVector) throws {
        let request = try vector.request()
        #expect(try SignatureV4.canonicalRequest(request) == vector.text("creq"))
        #expect(try signer().stringToSign(for: request, timestamp: Self.timestamp) == vector.text("sts"))
        #expect(try signer().authorization(for: request, timestamp: Self.timestamp) == vector.text("authz"))
    }

    @Test func `any change of the request or the key changes the signature`() throws {
        let vector = try #require(SigningVector.all().first { $0.name == "get-vanilla-query-order-key" })
        let request = try vector.request()
        let good = signer().authorization(for: request, timestamp: Self.timestamp)
        var changed = [request, request, request, request, request]
        changed[0].method = "PUT"
        changed[1].path = "/x"
        changed[2].query[0].value += "x"
        changed[3].headers[0].value += "x"
        changed[4].payloadHash = "UNSIGNED-PAYLOAD"
        for change in changed { #expect(signer().authorization(for: change, timestamp: Self.timestamp) != good) }
        #expect(signer().authorization(for: request, timestamp: "20150831T123600Z") != good)
        let other = SignatureV4(
            accessKey: "AKIDEXAMPLE", secretKey: [1, 2, 3].withUnsafeBytes { SecretBytes(copying: $0) },
            region: "us-east-1", service: "service")
        #expect(other.authorization(for: request, timestamp: Self.timestamp) != good)
    }

    @Test func `keys are encoded once, byte by byte`() {
        #expect(URIEncoding.path("/a b/ü+%/~x") == "/a%20b/%C3%BC%2B%25/~x")
        #expect(URIEncoding.component("a/b=c&d") == "a%2Fb%3Dc%26d")
    }
}
