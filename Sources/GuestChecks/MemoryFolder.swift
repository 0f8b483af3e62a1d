internal import BackupEngine
internal import SystemIO

/// A folder in memory that only its user can enter, for what must not get to a disk; gone with its owner.
package struct MemoryFolder: ~Copyable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private static let prefix = "holdfast-boot-"

    package let path: String
    /// What is free in it now.
    package let availableByteCount: UInt64

    /// Makes one where the system keeps shared memory, after removing the empty ones of processes that are gone.
    package init() throws(Failure) {
        guard let made = Self.make() else {
            throw Failure(description: "there is no place in memory (/dev/shm, /run) for what a guest writes")
        }
        path = made.path
        availableByteCount = made.available
    }

    private static func make() -> (path: String, available: UInt64)? {
        let identity = ProcessIdentity.current
        for root in ["/dev/shm", "/run"] where isInMemory(root) {
            cleanUp(root)
            let path = "\(root)/\(prefix)\(identity.process)-\(identity.startTicks)"
            guard let space = try? FileSystemSpace.of(root), (try? Folder.make(path, mode: 0o700)) == true else {
                continue
            }
            return (path, space.availableByteCount)
        }
        return nil
    }

    /// Empty by then: what is written there has no name.
    deinit { try? Folder.remove(path) }

    /// By proc(5): the last mount on a place is the one that is seen.
    private static func isInMemory(_ path: String) -> Bool {
        guard let bytes = try? readWholeFile("/proc/self/mounts", maximumByteCount: 16 << 20) else { return false }
        let kind = String(decoding: bytes, as: UTF8.self).split(separator: "\n").last { line in
            line.split(separator: " ").dropFirst().first.map { $0 == path } ?? false
        }?.split(separator: " ").dropFirst(2).first
        return kind == "tmpfs" || kind == "ramfs"
    }

    private static func cleanUp(_ root: String) {
        guard let entries = try? Folder.entries(of: root) else { return }
        for entry in entries where entry.kind == .directory {
            guard let name = entry.name, name.hasPrefix(prefix) else { continue }
            let numbers = name.dropFirst(prefix.count).split(separator: "-")
            guard numbers.count == 2, let process = Int32(numbers[0]), let ticks = UInt64(numbers[1]) else { continue }
            let owner = ProcessIdentity(
                process: process, startTicks: ticks, bootIdentifier: ProcessIdentity.current.bootIdentifier)
            // Only if it is empty, and ours to remove.
            if !owner.isAlive { try? Folder.remove(root + "/" + name) }
        }
    }
}
