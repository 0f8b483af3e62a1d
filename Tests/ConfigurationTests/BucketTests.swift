import BackupNames
import Foundation
import Testing

@testable import Configuration

@Suite("Buckets in the configuration")
struct BucketTests {
    private static let base = """
        state_dir = "/s"
        keys_dir = "/k"
        [backends.w]
        type = "s3"
        endpoint = "https://s3.example.net"
        bucket = "acme-backups"
        region = "eu-central-2"

        """

    private func bucket(_ text: String) throws -> Configuration.Bucket {
        let configuration = try Configuration.parse(text, file: "/etc/c.toml")
        guard case .bucket(let bucket) = configuration.backends[0].place else {
            throw ConfigurationError(code: .invalidValue, file: "", line: nil, key: nil, detail: "no bucket")
        }
        return bucket
    }

    @Test func `the least is an endpoint, a bucket and a region`() throws {
        let expected = Configuration.Bucket(
            endpoint: "https://s3.example.net", name: "acme-backups", region: "eu-central-2")
        #expect(try bucket(Self.base) == expected)
    }

    @Test func `the example file is valid, and says the defaults`() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("contrib/config.example.toml"), encoding: .utf8)
        let configuration = try Configuration.parse(text, file: "/etc/holdfast/config.toml")
        #expect(configuration.backends.map(\.name.description) == ["impossible", "nas", "serverscamp", "wasabi"])
        #expect(configuration.backends.map(\.isDisasterRecovery) == [true, false, false, true])
        #expect(configuration.backends.map(\.country) == ["FR", "RO", "RO", "DE"])
        #expect(configuration.archive == Configuration.Archive())
        #expect(configuration.cache.diskByteCount == Configuration.Cache().diskByteCount)
        #expect(configuration.catalog == Configuration.CatalogCare())
        #expect(configuration.memoryBudgetByteCount == 256 << 20)
        guard case .bucket(var wasabi) = configuration.backends[3].place else { Issue.record("no bucket"); return }
        let plain = Configuration.Bucket(
            endpoint: "https://s3.eu-central-2.wasabisys.com", name: "acme-backups", region: "eu-central-2")
        #expect(wasabi.credentialsFile == "/etc/holdfast/wasabi.credentials")
        wasabi.credentialsFile = nil
        #expect(wasabi == plain)
        #expect(configuration.backends[3].minimumBilledDays == 90 && configuration.prices == Configuration.Prices())
        // What is commented out is known, too.
        let lines = text.split(separator: "\n").map { line in
            line.hasPrefix("# ") && line.contains(" = ") && !line.contains("…")
                ? String(line.dropFirst(2)) : String(line)
        }
        guard
            case .bucket(let full) = try Configuration.parse(lines.joined(separator: "\n"), file: "/c").backends[3]
                .place
        else { Issue.record("no bucket"); return }
        #expect(full.objectLockMode == "GOVERNANCE" && full.objectLockDays == 30)
        #expect(full.storageClass == "STANDARD" && full.accessKeyVariable == "WASABI_KEY")
    }

    struct Mistake: Sendable, CustomStringConvertible {
        let line: String
        var replaces = ""
        let code: ConfigurationError.Code
        let key: String
        var description: String { line.isEmpty ? "without \(replaces)" : line }
    }

    @Test(arguments: [
        Mistake(line: "", replaces: "endpoint = \"https://s3.example.net\"", code: .missingKey, key: "endpoint"),
        Mistake(line: "", replaces: "bucket = \"acme-backups\"", code: .missingKey, key: "bucket"),
        Mistake(line: "", replaces: "region = \"eu-central-2\"", code: .missingKey, key: "region"),
        Mistake(
            line: "endpoint = \"s3.example.net\"", replaces: "endpoint = \"https://s3.example.net\"",
            code: .invalidValue, key: "endpoint"),
        Mistake(
            line: "endpoint = \"https://h/path\"", replaces: "endpoint = \"https://s3.example.net\"",
            code: .invalidValue, key: "endpoint"),
        Mistake(
            line: "bucket = \"a/b\"", replaces: "bucket = \"acme-backups\"", code: .invalidValue, key: "bucket"),
        Mistake(line: "secret_key = \"x\"", code: .unknownKey, key: "secret_key"),
        Mistake(line: "addressing = \"host\"", code: .invalidValue, key: "addressing"),
        Mistake(line: "connect_seconds = 0", code: .invalidValue, key: "connect_seconds"),
        Mistake(line: "stall_seconds = \"20s\"", code: .wrongType, key: "stall_seconds"),
        Mistake(line: "access_key_env = \"A\"", code: .missingKey, key: "secret_key_env"),
        Mistake(line: "object_lock_days = 30", code: .missingKey, key: "object_lock_mode"),
        Mistake(line: "object_lock_mode = \"NONE\"", code: .invalidValue, key: "object_lock_mode"),
        Mistake(line: "storage_class = \"A\\nB\"", code: .invalidValue, key: "storage_class"),
        Mistake(line: "upload = { part_size = \"1MiB\" }", code: .invalidValue, key: "upload.part_size"),
        Mistake(line: "upload = { parts = 4 }", code: .unknownKey, key: "upload.parts"),
        Mistake(line: "path = \"/x\"", code: .unknownKey, key: "path"),
    ]) func `a mistake is named by its key`(mistake: Mistake) throws {
        let text =
            mistake.replaces.isEmpty
            ? Self.base + mistake.line + "\n"
            : Self.base.replacingOccurrences(of: mistake.replaces, with: mistake.line)
        let error = #expect(throws: ConfigurationError.self) { try bucket(text) }
        #expect(
            error?.code == mistake.code && error?.key == "backends.w." + mistake.key, "\(String(describing: error))")
    }

    @Test func `the cache has a size, and 0 is none`() throws {
        func cache(_ text: String) throws -> Configuration.Cache {
            try Configuration.parse(Self.base + "[cache]\n" + text, file: "/c").cache
        }
        #expect(try cache("disk = 0").diskByteCount == 0)
        #expect(try cache("disk = \"1TiB\"").diskByteCount == 1 << 40)
        #expect(try cache("min_free = 0").minimumFreeByteCount == 0)
        #expect(throws: ConfigurationError.self) { try cache("disk = \"much\"") }
        #expect(throws: ConfigurationError.self) { try cache("size = 1") }
    }
}
