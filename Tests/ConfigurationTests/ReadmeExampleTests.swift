import BackupNames
import Configuration
import Foundation
import Testing

@Suite("The README's example")
struct ReadmeExampleTests {
    @Test func `it is a valid configuration and says what it shows`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        let start = try #require(readme.range(of: "```toml\n"))
        let end = try #require(readme.range(of: "```", range: start.upperBound..<readme.endIndex))
        let path = NSTemporaryDirectory() + "holdfast-readme-\(UUID().uuidString).toml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(readme[start.upperBound..<end.lowerBound].utf8).write(to: URL(fileURLWithPath: path))
        let configuration = try Configuration.load(path: path)
        #expect(configuration.backends.map(\.path) == ["/srv/backups"])
        #expect(configuration.orgs.first?.backend?.description == "nas")
        #expect(configuration.orgs.first?.recoveryRecipients.count == 1)
        // What it shows are the defaults.
        #expect(configuration.archive.level == 2 && configuration.archive.frameByteCount == 1 << 20)
        #expect(configuration.memoryBudgetByteCount == 256 << 20)
    }
}
