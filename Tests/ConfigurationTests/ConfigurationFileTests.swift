import BackupNames
import Configuration
import Foundation
import Testing

@Suite("Configuration file", .timeLimit(.minutes(1)))
struct ConfigurationFileTests {
    private func file(_ state: String) throws -> String {
        let path = NSTemporaryDirectory() + "holdfast-test-\(UUID().uuidString).toml"
        let text = "state_dir = \"\(state)\"\nkeys_dir = \"keys\"\n[backends.x]\ntype = \"directory\"\npath = \"/x\"\n"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    private func unreadable(_ path: String) -> Bool {
        do throws(ConfigurationError) {
            _ = try Configuration.load(path: path)
            return false
        } catch {
            return error.code == .unreadable && error.file == path && error.line == nil && error.key == nil
        }
    }

    @Test func `the file named goes before the variable`() throws {
        let (named, other) = (try file("/named"), try file("/other"))
        defer { for path in [named, other] { try? FileManager.default.removeItem(atPath: path) } }
        let environment = { $0 == "HOLDFAST_CONFIG" ? other : nil }
        #expect(try Configuration.load(path: named, environment: environment).stateDirectory == "/named")
        #expect(try Configuration.load(path: "-", environment: environment).stateDirectory == "/other")
        #expect(try Configuration.load(path: nil, environment: environment).stateDirectory == "/other")
    }

    @Test func `what cannot be read is unreadable, and never the default`() throws {
        #expect(unreadable("/nowhere/config.toml"))
        #expect(unreadable("/tmp"))
        #expect(unreadable("/dev/zero"))
        #expect(throws: ConfigurationError.self) {
            try Configuration.load(path: nil) { $0 == "HOLDFAST_CONFIG" ? "/nowhere/config.toml" : nil }
        }
    }

    @Test(.enabled(if: access("/etc/holdfast/config.toml", F_OK) != 0, "this machine has a configuration of its own"))
    func `without any file the embedded default is used`() throws {
        let expected = Configuration.embeddedDefault { _ in nil }
        #expect(try Configuration.load(path: nil) { _ in nil } == expected)
        #expect(try Configuration.load(path: "-") { $0 == "HOLDFAST_CONFIG" ? "" : nil } == expected)
    }

    @Test func `the embedded default has one backend below the state folder`() {
        let configuration = Configuration.embeddedDefault { $0 == "HOME" ? "/home/u" : nil }
        let isRoot = geteuid() == 0
        #expect(configuration.isEmbeddedDefault)
        #expect(configuration.stateDirectory == (isRoot ? "/var/lib/holdfast" : "/home/u/.local/state/holdfast"))
        #expect(configuration.keysDirectory == (isRoot ? "/etc/holdfast/keys" : "/home/u/.config/holdfast/keys"))
        #expect(configuration.backends.map(\.name.description) == ["local"])
        #expect(configuration.backends.first?.path == configuration.stateDirectory + "/backups")
    }
}
