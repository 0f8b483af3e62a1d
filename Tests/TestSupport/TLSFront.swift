import Foundation

/// TLS before a server that has none, with a certificate of its own: Tests/Lab/tls-front.
package final class TLSFront: Sendable {
    package let port: UInt16
    private let process: LineProcess

    /// `address`: HOST:PORT of the server. `certificate` and `key`: PEM files.
    package init(to address: String, certificate: String, key: String) throws {
        process = try LineProcess([
            "python3", Repository.path("Tests/Lab/tls-front"), "--target", address, "--certificate", certificate,
            "--key", key,
        ])
        let greeting = try process.greeting(seconds: 30)
        let value = try JSONDecoder().decode([String: UInt16].self, from: Data(greeting.utf8))
        guard let port = value["port"] else { throw TestSupportError("tls-front did not say its port: \(greeting)") }
        self.port = port
    }

    package func stop() { process.end() }
}
