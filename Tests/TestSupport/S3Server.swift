import Foundation
import Synchronization

/// A real S3 server on loopback, with its state in a temporary folder; one of the scripts in Tests/Servers.
///
/// The script `keep` holds the server and ends it when this object or this process ends. Safe to use from any thread;
/// the calls block.
package final class S3Server: Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        case ceph, seaweedfs, swift, juicefs, rclone

        var script: String { Repository.path("Tests/Servers/\(rawValue)-s3") }

        /// Whether the server is installed; contrib/dependencies servers does that.
        package var isInstalled: Bool {
            Self.installed.withLock { known in
                if let answer = known[self] { return answer }
                let process = Process()
                process.executableURL = URL(fileURLWithPath: script)
                process.arguments = ["install"]
                process.environment = ProcessInfo.processInfo.environment.merging(["S3_SERVERS_NO_INSTALL": "1"]) { $1 }
                process.standardError = FileHandle.nullDevice
                guard (try? process.run()) != nil else { return false }
                process.waitUntilExit()
                known[self] = process.terminationStatus == 0
                return process.terminationStatus == 0
            }
        }

        private static let installed = Mutex<[Kind: Bool]>([:])
    }

    package let kind: Kind
    /// http://HOST:PORT, the same after each start.
    package let endpoint: String
    package let region: String
    package let accessKey: String
    package let secretKey: String
    /// HOST:PORT.
    package var address: String { String(endpoint.dropFirst("http://".count)) }

    private let keeper: LineProcess

    /// Starts a server of its own for one test. `environment`: the scripts' settings, `S3_CEPH_STORE` for one.
    package init(_ kind: Kind, environment: [String: String] = [:]) throws {
        self.kind = kind
        let folder = FileManager.default.temporaryDirectory.path + "/holdfast-\(kind.rawValue)-" + UUID().uuidString
        keeper = try LineProcess(
            ["bash", Repository.path("Tests/Servers/keep"), "\(kind.rawValue)-s3", folder],
            environment: environment.merging(["S3_SERVERS_NO_INSTALL": "1"]) { given, _ in given })
        let lines = try Self.order("start", keeper)
        func value(_ name: String) throws -> String {
            guard let line = lines.first(where: { $0.hasPrefix(name + "=") }) else {
                throw TestSupportError("\(kind)-s3 did not print \(name): \(lines)")
            }
            return String(line.dropFirst(name.count + 1))
        }
        endpoint = try value("S3_ENDPOINT")
        region = try value("S3_REGION")
        accessKey = try value("S3_ACCESS_KEY")
        secretKey = try value("S3_SECRET_KEY")
    }

    /// Starts again after `stop` or `kill`, on the same port and with the data that is there.
    package func start() throws { _ = try Self.order("start", keeper) }

    /// Asks the server to end and waits for it.
    package func stop() throws { _ = try Self.order("stop", keeper) }

    /// Kills the server as a crash would.
    package func kill() throws { _ = try Self.order("kill", keeper) }

    /// Kills the server for good and removes its data; so does the end of this object.
    package func end() { keeper.end() }

    private static func order(_ command: String, _ keeper: LineProcess) throws -> [String] {
        let lines = try keeper.ask(command, seconds: 180) { $0 == "ok" || $0 == "failed" }
        guard lines.last == "ok" else { throw TestSupportError("\(command) failed: \(lines.joined(separator: "\n"))") }
        return lines
    }

    // MARK: - One server for all tests

    private static let started = Mutex<[Kind: Result<S3Server, any Error>]>([:])

    /// The server of this process, started by the first who asks. It must not be stopped, for others use it too: tests
    /// keep to buckets of their own. It ends with the process.
    package static func shared(_ kind: Kind) throws -> S3Server {
        try started.withLock { started in
            if let result = started[kind] { return result }
            let result = Result { try S3Server(kind) }
            started[kind] = result
            return result
        }.get()
    }
}
