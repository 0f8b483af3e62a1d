import CryptoPrimitives
import Foundation
import SignatureV4
import Testing

@Suite("Signatures by botocore", .timeLimit(.minutes(1)))
struct BotocoreTests {
    private struct Signed: Decodable {
        let secret: String
        let region: String
        let method: String
        let path: String
        let query: [[String]]
        let headers: [[String]]
        let authorization: String
    }

    @Test func `random requests are signed alike`() throws {
        let seed = Int.random(in: 0...1_000_000)
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("sign-with-botocore.py").path
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        // Debian's own Python, for its packages.
        process.arguments = ["--kill-after=5", "50", "/usr/bin/python3", script, "\(seed)", "300"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let lines = try #require(try output.fileHandleForReading.readToEnd()).split(separator: UInt8(ascii: "\n"))
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        #expect(lines.count == 300)
        for line in lines {
            let signed = try JSONDecoder().decode(Signed.self, from: Data(line))
            let headers = signed.headers.map { (name: $0[0], value: $0[1]) }
            func header(_ name: String) throws -> String {
                try #require(headers.first { $0.name.lowercased() == name }).value
            }
            let request = SignatureV4.Request(
                method: signed.method, path: signed.path, query: signed.query.map { (name: $0[0], value: $0[1]) },
                headers: headers, payloadHash: try header("x-amz-content-sha256"))
            let secret = Array(signed.secret.utf8).withUnsafeBytes { SecretBytes(copying: $0) }
            let signer = SignatureV4(accessKey: "AKIDEXAMPLE", secretKey: secret, region: signed.region)
            let authorization = signer.authorization(for: request, timestamp: try header("x-amz-date"))
            #expect(authorization == signed.authorization, "seed \(seed): \(signed.path) \(signed.query)")
        }
    }
}
