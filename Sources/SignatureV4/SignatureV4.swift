package import CryptoPrimitives

/// AWS Signature Version 4 in the `Authorization` header, over the SHA-256 of the payload.
///
/// Source: AWS General Reference, "Signature Version 4 signing process", with S3's rule for paths: each segment is
/// percent-encoded once, and nothing is normalised. Pure: no clock, no network.
package struct SignatureV4: Sendable {
    /// What is signed. All of it must be sent as it is here; headers may be added afterwards, none may be changed.
    package struct Request: Sendable {
        package var method: String
        /// Absolute, not encoded, in UTF-8.
        package var path: String
        /// Not encoded, in any order; a name without a value has an empty one.
        package var query: [(name: String, value: String)]
        /// With `host` and `x-amz-date`; names in any case.
        package var headers: [(name: String, value: String)]
        /// SHA-256 of the body in hexadecimal, or one of the words that S3 knows instead, such as `UNSIGNED-PAYLOAD`.
        package var payloadHash: String

        package init(
            method: String, path: String, query: [(name: String, value: String)] = [],
            headers: [(name: String, value: String)], payloadHash: String
        ) {
            self.method = method
            self.path = path
            self.query = query
            self.headers = headers
            self.payloadHash = payloadHash
        }
    }

    private static let algorithm = "AWS4-HMAC-SHA256"

    private let accessKey: String
    private let secretKey: SecretBytes
    private let region: String
    private let service: String

    package init(accessKey: String, secretKey: SecretBytes, region: String, service: String = "s3") {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.region = region
        self.service = service
    }

    /// The value of the `Authorization` header. `timestamp` is that of `x-amz-date`: `20150830T123600Z`.
    package func authorization(for request: Request, timestamp: String) -> String {
        let day = String(timestamp.prefix(8))
        let text = stringToSign(for: request, timestamp: timestamp)
        let signature = Self.hexadecimal(Self.code(of: text, key: signingKey(day: day)))
        return "\(Self.algorithm) Credential=\(accessKey)/\(scope(day: day)), "
            + "SignedHeaders=\(Self.canonicalHeaders(request).names), Signature=\(signature)"
    }

    package static func canonicalRequest(_ request: Request) -> String {
        let headers = canonicalHeaders(request)
        return [
            request.method,
            URIEncoding.path(request.path),
            canonicalQuery(request),
            headers.lines,
            headers.names,
            request.payloadHash,
        ].joined(separator: "\n")
    }

    package func stringToSign(for request: Request, timestamp: String) -> String {
        let canonical = SHA256Hasher.digest(of: Array(Self.canonicalRequest(request).utf8))
        let scope = scope(day: String(timestamp.prefix(8)))
        return [Self.algorithm, timestamp, scope, canonical.hexadecimal].joined(separator: "\n")
    }

    private func scope(day: String) -> String { "\(day)/\(region)/\(service)/aws4_request" }

    /// Sorted by the encoded names, then by the encoded values, as bytes.
    package static func canonicalQuery(_ request: Request) -> String {
        request.query
            .map { (URIEncoding.component($0.name), URIEncoding.component($0.value)) }
            .sorted { ($0.0, $0.1) < ($1.0, $1.1) }
            .map { "\($0.0)=\($0.1)" }
            .joined(separator: "&")
    }

    /// Names in lower case and sorted; values of one name joined by commas in the order they came; runs of blanks are one.
    private static func canonicalHeaders(_ request: Request) -> (lines: String, names: String) {
        var values: [String: [String]] = [:]
        for (name, value) in request.headers {
            let words = value.split { $0 == " " || $0 == "\t" || $0.isNewline }
            values[name.lowercased(), default: []].append(words.joined(separator: " "))
        }
        let names = values.keys.sorted()
        let lines = names.map { "\($0):\((values[$0] ?? []).joined(separator: ","))\n" }
        return (lines.joined(), names.joined(separator: ";"))
    }

    private func signingKey(day: String) -> SecretBytes {
        let prefix = Array("AWS4".utf8)
        var key = SecretBytes(count: prefix.count + secretKey.count) { buffer in
            buffer.copyBytes(from: prefix)
            secretKey.withUnsafeBytes { secret in
                UnsafeMutableRawBufferPointer(rebasing: buffer[prefix.count...]).copyMemory(from: secret)
            }
        }
        for part in [day, region, service, "aws4_request"] {
            var derived = Self.code(of: part, key: key)
            key = derived.withUnsafeBytes { SecretBytes(copying: $0) }
            derived.withUnsafeMutableBytes { SecretBytes.wipe($0) }
        }
        return key
    }

    private static func code(of text: String, key: SecretBytes) -> [UInt8] {
        Array(text.utf8).withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: key) }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
