internal import Foundation
internal import SignatureV4

/// Where a bucket is reached: scheme, host, port and how its name is said.
package struct S3Endpoint: Sendable, Hashable {
    package enum Addressing: String, Sendable, Hashable {
        /// `https://host/bucket/key`
        case path
        /// `https://bucket.host/key`
        case virtualHost = "virtual"
    }

    package let scheme: String
    package let host: String
    /// nil: the scheme's own.
    package let port: Int?

    /// nil unless it is `http://host[:port]` or `https://host[:port]`, with nothing behind it but perhaps a slash.
    package init?(_ text: String) {
        guard let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            ["http", "https"].contains(scheme), let host = parts.host, !host.isEmpty,
            parts.path.isEmpty || parts.path == "/", parts.query == nil, parts.fragment == nil, parts.user == nil
        else { return nil }
        self.scheme = scheme
        self.host = host.lowercased()
        port = parts.port == (scheme == "https" ? 443 : 80) ? nil : parts.port
    }

    private init(scheme: String, host: String, port: Int?) {
        self.scheme = scheme
        self.host = host
        self.port = port
    }

    package var usesTLS: Bool { scheme == "https" }

    /// The value of the `Host` header.
    package func authority(bucket: String, _ addressing: Addressing) -> String {
        let name = addressing == .virtualHost ? "\(bucket).\(host)" : host
        return name + (port.map { ":\($0)" } ?? "")
    }

    /// The path as it is signed: not encoded.
    package func path(bucket: String, key: String?, _ addressing: Addressing) -> String {
        switch addressing {
        case .path: "/\(bucket)" + (key.map { "/\($0)" } ?? "")
        case .virtualHost: "/" + (key ?? "")
        }
    }

    /// Where S3 says that the bucket is instead, if that is a host of the same provider: another region of the domain that
    /// was configured. Requests are never led to somebody else's.
    func redirected(to other: String, bucket: String) -> S3Endpoint? {
        var name = other.lowercased()
        if name.hasPrefix(bucket.lowercased() + ".") { name.removeFirst(bucket.count + 1) }
        let own = host.split(separator: ".")
        let its = name.split(separator: ".")
        guard own.count >= 2, its.count >= 2, own.suffix(2) == its.suffix(2), its.allSatisfy({ !$0.isEmpty }),
            name.utf8.allSatisfy({
                $0 == 0x2e || $0 == 0x2d || (0x30...0x39).contains($0) || (0x61...0x7a).contains($0)
            })
        else { return nil }
        return S3Endpoint(scheme: scheme, host: name, port: port)
    }

    package var description: String { "\(scheme)://\(host)" + (port.map { ":\($0)" } ?? "") }
}
