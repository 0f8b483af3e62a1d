internal import CryptoPrimitives
internal import Glibc
internal import Manifest
internal import SystemIO

/// The folder of local copies of foreign archives, `<state_dir>/foreign`, its owner's alone:
///
/// | name | |
/// |---|---|
/// | `<SHA-256 of the foreign archive>.raw.zst.age` | the copy: an archive of ours, encrypted to the org's recipients |
/// | `<the same>.manifest.age` | the copy's own manifest, sealed and encrypted as a sidecar is: it pins header and seek table |
/// | `.<the same>.tmp` | a copy that is being made |
/// | `lock` | locked (flock) by the process that makes one: there is one at a time |
///
/// Whoever reads a copy holds a shared lock of it, so that it is not removed under him. The time of its last use is its
/// modification time. All processes of one state folder may use it at once.
struct ForeignCopyFolder: Sendable {
    static let archiveEnding = ".raw.zst.age"
    static let manifestEnding = ".manifest.age"

    let path: String
    /// All copies together, that being made among them.
    let capacityByteCount: UInt64

    func archivePath(_ digest: SHA256Digest) -> String { "\(path)/\(digest.hexadecimal)\(Self.archiveEnding)" }
    func manifestPath(_ digest: SHA256Digest) -> String { "\(path)/\(digest.hexadecimal)\(Self.manifestEnding)" }
    func temporaryPath(_ digest: SHA256Digest) -> String { "\(path)/.\(digest.hexadecimal).tmp" }

    /// The lock of whoever makes a copy; nil while another has it. It ends with the file.
    func tryLock() throws(Errno) -> OwnedFile? {
        try makeDirectories(path, mode: 0o700)
        let file = try OwnedFile(opening: path + "/lock", for: .readWrite, options: [.create, .noFollow])
        guard try file.tryLock() else { return nil }
        return file
    }

    /// Removes what a process that is gone left. The lock must be held.
    func removeLeftOvers() throws(Errno) {
        let names = try names()
        for name in names {
            // Those of `atomicReplace` among them.
            let isTemporary = name.hasPrefix(".") && name.hasSuffix(".tmp")
            let isStray =
                name.hasSuffix(Self.manifestEnding)
                && !names.contains(name.dropLast(Self.manifestEnding.count) + Self.archiveEnding)
            if isTemporary || isStray { try remove(name) }
        }
    }

    func remove(_ digest: SHA256Digest) {
        try? FileTree.remove(archivePath(digest))
        try? FileTree.remove(manifestPath(digest))
    }

    /// Removes the copies that were used longest ago until there is room for so many bytes more. Copies that are being read stay.
    func makeRoom(for byteCount: UInt64) throws(EngineError) {
        do throws(Errno) {
            var used: UInt64 = 0
            var copies: [(name: String, facts: FileFacts)] = []
            for name in try names() {
                guard let facts = try facts(name) else { continue }
                used += facts.byteCount
                if name.hasSuffix(Self.archiveEnding), !name.hasPrefix(".") { copies.append((name, facts)) }
            }
            copies.sort {
                ($0.facts.modifiedSeconds, $0.facts.modifiedNanoseconds)
                    < ($1.facts.modifiedSeconds, $1.facts.modifiedNanoseconds)
            }
            for copy in copies where used + byteCount > capacityByteCount {
                let file = try OwnedFile(opening: path + "/" + copy.name, for: .read)
                guard try file.tryLock() else { continue }
                try remove(copy.name)
                try remove(copy.name.dropLast(Self.archiveEnding.count) + Self.manifestEnding)
                used -= min(used, copy.facts.byteCount)
            }
            guard used + byteCount <= capacityByteCount else { throw Errno.noSpace }
        } catch {
            throw Self.error(error, path, capacityByteCount)
        }
    }

    /// What is said of a folder that cannot be written to.
    static func error(_ error: Errno, _ path: String, _ capacityByteCount: UInt64) -> EngineError {
        guard error == .noSpace else {
            return EngineError(.noRoom, "the local copies in \"\(path)\" cannot be kept: \(error)", cause: error)
        }
        return EngineError(
            .noRoom,
            "\"\(path)\" may hold \(capacityByteCount) bytes, which are too few for a local copy of this foreign archive",
            hint: "set `foreign` in [cache] to more than its size, and see that the file system has room", cause: error)
    }

    private func names() throws(Errno) -> Set<String> {
        var names: Set<String> = []
        for entry in try Folder.entries(of: path) where entry.kind == .regular {
            if let name = entry.name { names.insert(name) }
        }
        return names
    }

    /// nil: it is gone.
    private func facts(_ name: String) throws(Errno) -> FileFacts? {
        do throws(Errno) {
            return try FileFacts.ofLink(path + "/" + name)
        } catch {
            if error == .noEntry { return nil }
            throw error
        }
    }

    private func remove(_ name: some StringProtocol) throws(Errno) {
        do throws(Errno) {
            try FileTree.remove(path + "/" + String(name))
        } catch {
            if error != .noEntry { throw error }
        }
    }
}
