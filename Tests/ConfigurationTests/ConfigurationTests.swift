import BackupNames
import Configuration
import Foundation
import Testing

@Suite("Configuration")
struct ConfigurationTests {
    private static let minimal = """
        state_dir = "/state"
        keys_dir = "/keys"
        [backends.local]
        type = "directory"
        path = "/backups"

        """

    private func parse(_ text: String, file: String = "/etc/holdfast/config.toml") throws -> Configuration {
        try Configuration.parse(text, file: file)
    }

    private func complaint(_ text: String) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try Configuration.parse(text, file: "/etc/holdfast/config.toml")
            return nil
        } catch {
            return error
        }
    }

    @Test func `the smallest file has the defaults`() throws {
        let configuration = try parse(Self.minimal)
        #expect(configuration.stateDirectory == "/state")
        #expect(configuration.keysDirectory == "/keys")
        #expect(configuration.backends.map(\.name) == [try ResourceName("local")])
        #expect(configuration.backends.map(\.path) == ["/backups"])
        #expect(configuration.backends.allSatisfy { $0.prefix.isEmpty && !$0.isDisasterRecovery })
        #expect(configuration.orgs.isEmpty)
        #expect((1...19).contains(configuration.archive.level))
        #expect(configuration.archive.frameByteCount == 1 << 20)
        #expect(configuration.memoryBudgetByteCount == 256 << 20)
        #expect(!configuration.isEmbeddedDefault)
    }

    @Test func `every key is taken`() throws {
        let configuration = try parse(
            """
            state_dir = "/state"
            keys_dir = "/keys"
            [backends.b]
            type = "directory"
            path = "/b"
            prefix = "/one/two//"
            region = "eu-1"
            country = "NL"
            dr = true
            [backends."a c"]
            type = "directory"
            path = "/a"
            [orgs.acme]
            recovery_recipients = ["age1x", "age1y"]
            backend = "a c"
            [orgs.other]
            [archive]
            level = 19
            frame_size = "4MiB"
            [memory]
            budget = "1GiB"
            """)
        #expect(configuration.backends.map(\.name.description) == ["a c", "b"])
        let backend = try #require(configuration.backends.last)
        #expect(backend.prefix == ["one", "two"])
        #expect(backend.region == "eu-1")
        #expect(backend.country == "NL")
        #expect(backend.isDisasterRecovery)
        #expect(configuration.orgs.map(\.name.description) == ["acme", "other"])
        #expect(configuration.orgs.first?.recoveryRecipients == ["age1x", "age1y"])
        #expect(configuration.orgs.first?.backend?.description == "a c")
        #expect(configuration.orgs.last?.backend == nil)
        #expect(configuration.archive.level == 19)
        #expect(configuration.archive.frameByteCount == 4 << 20)
        #expect(configuration.memoryBudgetByteCount == 1 << 30)
    }

    @Test(arguments: [
        ("/etc/holdfast/config.toml", "/etc/holdfast/"), ("conf/x.toml", "conf/"), ("x.toml", "./"), ("/x.toml", "/"),
    ])
    func `relative paths start at the file's folder`(_ file: String, _ folder: String) throws {
        let text = Self.minimal.replacingOccurrences(of: "\"/", with: "\"")
        let configuration = try parse(text, file: file)
        #expect(configuration.stateDirectory == folder + "state")
        #expect(configuration.keysDirectory == folder + "keys")
        #expect(configuration.backends.first?.path == folder + "backups")
    }

    @Test(arguments: [
        ("67108864", 64 << 20), ("\"65536KiB\"", 64 << 20), ("\"64MiB\"", 64 << 20), ("\"3GiB\"", 3 << 30),
    ])
    func `sizes are bytes or have a binary unit`(_ size: String, _ byteCount: Int) throws {
        #expect(try parse(Self.minimal + "[memory]\nbudget = \(size)").memoryBudgetByteCount == byteCount)
    }

    @Test(arguments: [
        "\"\"", "\"MiB\"", "\"64MB\"", "\"64 MiB\"", "\"-64MiB\"", "\"6.4GiB\"", "\"64\"",
        "\"99999999999999999999GiB\"",
        "\"9007199254740992GiB\"", "\"0MiB\"", "0", "-1", "1", "67108863", "\"63MiB\"",
    ])
    func `an impossible size is an invalid value`(_ size: String) {
        let error = complaint(Self.minimal + "[memory]\nbudget = \(size)")
        #expect(error?.code == .invalidValue)
        #expect(error?.key == "memory.budget")
        #expect(error?.line == 7)
    }

    /// The text behind the smallest file, and what is said about it.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let text: String
        let code: ConfigurationError.Code
        let key: String?
        let line: Int?
        var replaces = ""
        var testDescription: String { "\(text.debugDescription) \(replaces)" }
    }

    @Test(arguments: [
        Mistake(text: "[nonsense]", code: .unknownKey, key: "nonsense", line: 6),
        Mistake(text: "pth = 1", code: .unknownKey, key: "backends.local.pth", line: 6),
        Mistake(text: "[archive]\nlevel = 3\nlevle = 3", code: .unknownKey, key: "archive.levle", line: 8),
        Mistake(text: "[memory]\n  bugdet = 3", code: .unknownKey, key: "memory.bugdet", line: 7),
        Mistake(text: "[orgs.acme]\nx = 3", code: .unknownKey, key: "orgs.acme.x", line: 7),
        Mistake(text: "", code: .missingKey, key: "state_dir", line: nil, replaces: "state_dir = \"/state\"\n"),
        Mistake(text: "", code: .missingKey, key: "keys_dir", line: nil, replaces: "keys_dir = \"/keys\"\n"),
        Mistake(text: "", code: .missingKey, key: "backends.local.path", line: 3, replaces: "path = \"/backups\""),
        Mistake(text: "", code: .missingKey, key: "backends.local.type", line: 3, replaces: "type = \"directory\"\n"),
        Mistake(
            text: "", code: .missingKey, key: "backends", line: nil,
            replaces: "[backends.local]\ntype = \"directory\"\npath = \"/backups\"\n"),
        Mistake(text: "prefix = 7", code: .wrongType, key: "backends.local.prefix", line: 6),
        Mistake(text: "dr = \"yes\"", code: .wrongType, key: "backends.local.dr", line: 6),
        Mistake(text: "dr = 1", code: .wrongType, key: "backends.local.dr", line: 6),
        Mistake(text: "region = [\"x\"]", code: .wrongType, key: "backends.local.region", line: 6),
        Mistake(text: "[archive]\nlevel = \"3\"", code: .wrongType, key: "archive.level", line: 7),
        Mistake(text: "[archive]\nlevel = 3.0", code: .wrongType, key: "archive.level", line: 7),
        Mistake(text: "[archive]\nlevel = true", code: .wrongType, key: "archive.level", line: 7),
        Mistake(text: "[memory]\nbudget = 1e9", code: .wrongType, key: "memory.budget", line: 7),
        Mistake(text: "[[archive]]", code: .wrongType, key: "archive", line: 6),
        Mistake(text: "[backends]\nother = 7", code: .wrongType, key: "backends.other", line: 7),
        Mistake(
            text: "[orgs.acme]\nrecovery_recipients = \"age1\"", code: .wrongType, key: "orgs.acme.recovery_recipients",
            line: 7),
        Mistake(
            text: "[orgs.acme]\nrecovery_recipients = [7]", code: .wrongType, key: "orgs.acme.recovery_recipients",
            line: 7),
        Mistake(text: "[backends.s]\ntype = \"tape\"", code: .invalidValue, key: "backends.s.type", line: 7),
        Mistake(
            text: "[backends.s]\ntype = \"directory\"\npath = \"\"", code: .invalidValue, key: "backends.s.path",
            line: 8),
        Mistake(text: "[backends.\"a/b\"]", code: .invalidValue, key: "backends.a/b", line: 6),
        Mistake(text: "[backends.staging]", code: .invalidValue, key: "backends.staging", line: 6),
        Mistake(text: "[orgs.\".x\"]", code: .invalidValue, key: "orgs..x", line: nil),
        Mistake(text: "[orgs.acme]\nbackend = \"none\"", code: .invalidValue, key: "orgs.acme.backend", line: 7),
        Mistake(text: "[catalog]\nrefresh = 300", code: .wrongType, key: "catalog.refresh", line: 7),
        Mistake(text: "[catalog]\nrefresh = \"5\"", code: .invalidValue, key: "catalog.refresh", line: 7),
        Mistake(text: "[catalog]\nrefresh = \"-5m\"", code: .invalidValue, key: "catalog.refresh", line: 7),
        Mistake(text: "[catalog]\nrefresh = \"8d\"", code: .invalidValue, key: "catalog.refresh", line: 7),
        Mistake(
            text: "[catalog]\nrefresh = \"99999999999999999999d\"", code: .invalidValue, key: "catalog.refresh", line: 7
        ),
        Mistake(text: "[catalog]\ncopies = -1", code: .invalidValue, key: "catalog.copies", line: 7),
        Mistake(text: "[archive]\nlevel = 0", code: .invalidValue, key: "archive.level", line: 7),
        Mistake(text: "[archive]\nlevel = 20", code: .invalidValue, key: "archive.level", line: 7),
        Mistake(text: "[archive]\nframe_size = \"3MiB\"", code: .invalidValue, key: "archive.frame_size", line: 7),
        Mistake(text: "[archive]\nframe_size = \"32KiB\"", code: .invalidValue, key: "archive.frame_size", line: 7),
        Mistake(text: "[archive]\nframe_size = \"32MiB\"", code: .invalidValue, key: "archive.frame_size", line: 7),
        Mistake(text: "[archive]\nframe_size = \"8MiB\"", code: .invalidValue, key: "archive.frame_size", line: 7),
        Mistake(text: "prefix = \"a/../b\"", code: .invalidValue, key: "backends.local.prefix", line: 6),
        Mistake(text: "prefix = \"a\\nb\"", code: .invalidValue, key: "backends.local.prefix", line: 6),
        Mistake(text: "x = ", code: .syntax, key: nil, line: 6),
        Mistake(text: "path = \"/again\"", code: .syntax, key: nil, line: 6),
        Mistake(text: "[é]", code: .syntax, key: nil, line: 6),
        Mistake(text: "[ = ]", code: .syntax, key: nil, line: 6),
        Mistake(text: "[[ [x]]", code: .syntax, key: nil, line: 6),
        Mistake(text: "  [", code: .syntax, key: nil, line: 6),
        Mistake(text: "[\n]", code: .syntax, key: nil, line: 6),
        Mistake(text: "[]", code: .syntax, key: nil, line: 6),
        Mistake(text: "[unclosed", code: .syntax, key: nil, line: 6),
    ])
    func `a mistake is named with its file, line and key`(_ mistake: Mistake) throws {
        var text = Self.minimal.trimmingCharacters(in: .newlines) + "\n" + mistake.text
        if !mistake.replaces.isEmpty {
            text = Self.minimal.replacingOccurrences(of: mistake.replaces, with: "")
        }
        let error = try #require(complaint(text))
        #expect(error.code == mistake.code)
        #expect(error.file == "/etc/holdfast/config.toml")
        #expect(error.key == mistake.key)
        #expect(error.line == mistake.line)
        #expect(error.description.hasPrefix("/etc/holdfast/config.toml"))
        if let line = mistake.line { #expect(error.description.contains(":\(line):")) }
        if let key = mistake.key { #expect(error.description.contains("\"\(key)\"")) }
    }

    @Test func `lines are counted in a file with carriage returns too`() throws {
        let text = (Self.minimal + "[archive]\nlevel = 99").replacingOccurrences(of: "\n", with: "\r\n")
        let error = try #require(complaint(text))
        #expect(error.line == 7)
        #expect(error.key == "archive.level")
    }

    @Test func `random changes of a file never do worse than an error`() {
        let text = Array(
            (Self.minimal + "[archive]\nlevel = 9\nframe_size = \"1MiB\"\n[orgs.acme]\nbackend = \"local\"\n").utf8)
        var seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        for _ in 0..<3000 {
            var changed = text
            for _ in 0..<3 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                changed[Int(seed >> 33) % changed.count] = UInt8(truncatingIfNeeded: seed >> 24)
            }
            _ = complaint(String(decoding: changed, as: UTF8.self))
        }
    }
}
