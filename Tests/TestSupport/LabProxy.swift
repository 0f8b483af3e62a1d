import Foundation

/// The fault and latency lab between a client and a server: Tests/Lab/lab-proxy, one process for each object.
///
/// A command has taken effect when its call returns. Safe to use from any thread; the calls block for a moment.
package final class LabProxy: Sendable {
    /// What the line to the server is like.
    package enum Network: Sendable {
        case working
        /// Connections are refused, those that were open are reset.
        case refusing
        /// Nothing passes, in old connections and in new ones; when it works again nothing was lost.
        case dead
    }

    /// What passed since the start or `resetCounters`.
    package struct Counters: Decodable, Sendable {
        /// By operation, with the raw values of `FaultRule.Operation`.
        package let requests: [String: Int]
        /// By status.
        package let answers: [String: Int]
        /// Faults worked, by rule; see `fired(_:)`.
        package let faults: [String: Int]
        package let requestBodyBytes: Int
        package let answerBodyBytes: Int
        package let connectionsAccepted: Int
        package let connectionsOpen: Int
        package let connectionsPeak: Int
        package let requestsOpen: Int
        package let requestsPeak: Int

        package func requests(_ operation: FaultRule.Operation) -> Int { requests[operation.rawValue] ?? 0 }
        package func fired(_ rule: Int) -> Int { faults[String(rule)] ?? 0 }
    }

    package let port: UInt16
    package var endpoint: String { "http://127.0.0.1:\(port)" }
    package var processIdentifier: Int32 { process.processIdentifier }

    private let process: LineProcess

    /// `address`: HOST:PORT of the server. `seed`: of what rules with a probability do.
    package init(to address: String, seed: UInt64 = 0) throws {
        process = try LineProcess([
            "python3", Repository.path("Tests/Lab/lab-proxy"), "--target", address, "--seed", String(seed),
        ])
        let greeting = try process.greeting(seconds: 30)
        let value = try JSONDecoder().decode([String: UInt16].self, from: Data(greeting.utf8))
        guard let port = value["port"] else { throw TestSupportError("lab-proxy did not say its port: \(greeting)") }
        self.port = port
    }

    /// A lab before a server, which can change signed ranges because it has the keys.
    package convenience init(to server: S3Server, seed: UInt64 = 0) throws {
        try self.init(to: server.address, seed: seed)
        _ = try command(["sign": ["access_key": server.accessKey, "secret_key": server.secretKey]])
    }

    /// The line's round trip and its rate in each direction, shared by all connections; nil for no limit. A new
    /// connection costs one more round trip.
    package func setLink(roundTrip: Duration = .zero, bitsPerSecond: Double? = nil) throws {
        let rate: any Sendable = bitsPerSecond ?? 0
        _ = try command(["set": ["rtt_ms": roundTrip / .milliseconds(1), "bits_per_second": rate] as [String: Any]])
    }

    /// Adds a rule and returns its number, for `Counters.fired`.
    @discardableResult
    package func add(_ rule: FaultRule) throws -> Int {
        guard let number = try command(["rule": rule.parameters])["rule"] as? Int else {
            throw TestSupportError("lab-proxy did not say the rule's number")
        }
        return number
    }

    /// Removes all rules.
    package func clearRules() throws { _ = try command(["clear": true]) }

    package func setNetwork(_ network: Network) throws {
        _ = try command(["refuse": network == .refusing, "blackhole": network == .dead])
    }

    package func counters() throws -> Counters {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let values = try command(["counters": true])["counters"] ?? [:]
        return try decoder.decode(Counters.self, from: JSONSerialization.data(withJSONObject: values))
    }

    package func resetCounters() throws { _ = try command(["reset_counters": true]) }

    /// The last 200 requests, each with its operation and the fault that was worked on it.
    package func log() throws -> [String] { try command(["log": true])["log"] as? [String] ?? [] }

    /// Ends the process; so does the end of this object, and of the test process.
    package func stop() { process.end() }

    private func command(_ command: [String: Any]) throws -> [String: Any] {
        let line = String(decoding: try JSONSerialization.data(withJSONObject: command), as: UTF8.self)
        let answer = try process.ask(line, seconds: 30)[0]
        let value = try JSONSerialization.jsonObject(with: Data(answer.utf8)) as? [String: Any] ?? [:]
        guard value["ok"] as? Bool == true else { throw TestSupportError("\(line): \(answer)") }
        return value
    }
}
