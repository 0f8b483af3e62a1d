import Glibc
import SystemIO

/// An empty folder of one test, removed with all that is in it when the test is done.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = "/tmp/holdfast-test-" + String(UInt64.random(in: .min ... .max), radix: 16)
        try makeDirectories(path, mode: 0o700)
    }

    deinit {
        Self.removeAll(path)
    }

    static func removeAll(_ path: String) {
        for entry in (try? Folder.entries(of: path)) ?? [] {
            let inner = path + "/" + (entry.name ?? "")
            if entry.kind == .directory { removeAll(inner) } else { unlink(inner) }
        }
        rmdir(path)
    }
}
