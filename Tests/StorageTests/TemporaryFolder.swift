import Glibc
import SystemIO

/// An empty folder of one test, removed with all that is in it when the test is done.
final class TemporaryFolder: Sendable {
    let path: String

    /// Where the folder is.
    enum Place {
        /// On the machine's disk, where a sync takes its time.
        case disk
        /// In memory if the machine has such a place, for thousands of synced files.
        case memory
    }

    init(_ place: Place = .disk) throws {
        let hasMemory = access("/dev/shm", W_OK) == 0
        let parent = place == .memory && hasMemory ? "/dev/shm" : "/tmp"
        path = parent + "/holdfast-test-" + String(UInt64.random(in: .min ... .max), radix: 16)
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
