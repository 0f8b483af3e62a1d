internal import Foundation
internal import Glibc
internal import SystemIO

/// What a moment leaves in the system until it is released, and after a crash: enough to remove it, and nothing else.
enum MomentTrace: Codable, Hashable, Sendable {
    /// A file of ours beside the source.
    case clone(path: String)
    /// A btrfs subvolume of ours.
    case btrfs(path: String)
    /// A logical volume of ours: `group/name`.
    case lvm(volume: String)
    /// A snapshot of ours, the clone made of it, and the folder it is mounted on.
    case zfs(snapshot: String, clone: String, mountpoint: String?)

    /// Every name of ours holds this, and what does not is never removed.
    static let mark = "holdfast-moment-"

    static func newName() -> String { mark + String(UInt64.random(in: .min ... .max), radix: 16) }

    /// Whether all of it is ours to remove. The journal is a file, and files can be tampered with.
    var isOurs: Bool {
        switch self {
        case .clone(let path), .btrfs(let path):
            path.hasPrefix("/") && path.split(separator: "/").last.map { $0.contains(Self.mark) } ?? false
        case .lvm(let volume):
            volume.split(separator: "/").last?.hasPrefix(Self.mark) ?? false
        case .zfs(let snapshot, let clone, let mountpoint):
            snapshot.split(separator: "@", maxSplits: 1).dropFirst().first?.hasPrefix(Self.mark) ?? false
                && clone.split(separator: "/").last?.hasPrefix(Self.mark) ?? false
                && mountpoint.map { $0.split(separator: "/").last?.hasPrefix(Self.mark) ?? false } ?? true
        }
    }
}

/// The notes of moments that are under way: `<state>/moments/<name>.json`, one for each, written before anything is made.
///
/// | state | there is | its process ends here: the next look |
/// |---|---|---|
/// | noted | the note | finds nothing to remove, and removes the note |
/// | made | the note, and what it names | removes both |
/// | released, but its removal failed | the same, with no owner | the same |
/// | released | nothing | |
struct MomentJournal: Sendable {
    struct Note: Codable, Hashable, Sendable {
        var version = 1
        let trace: MomentTrace
        /// The process that uses it; 0: nobody any more.
        var process: Int32
        var startTicks: UInt64
        var boot: String
    }

    /// The folder.
    let path: String

    private static let noteLimit = 64 << 10

    func write(_ note: Note, _ name: String) throws(Errno) {
        try makeDirectories(path, mode: 0o700)
        let bytes: [UInt8]
        do {
            bytes = Array(try JSONEncoder().encode(note))
        } catch {
            throw .invalidArgument
        }
        var failure: Errno?
        bytes.withUnsafeBytes { bytes in
            do throws(Errno) {
                try atomicReplace(path + "/\(name).json", bytes, mode: 0o600)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    func remove(_ name: String) throws(Errno) {
        do throws(Errno) {
            try FileTree.remove(path + "/\(name).json")
        } catch  where error == .noEntry {}
    }

    /// What is noted; a file that is no note of ours is passed over.
    func notes() -> [(name: String, note: Note)] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var found: [(name: String, note: Note)] = []
        while let entry = readdir(folder) {
            let file = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard file.hasPrefix(MomentTrace.mark), file.hasSuffix(".json"),
                let bytes = try? readWholeFile(path + "/" + file, maximumByteCount: Self.noteLimit),
                let note = try? JSONDecoder().decode(Note.self, from: Data(bytes)), note.version == 1, note.trace.isOurs
            else { continue }
            found.append((String(file.dropLast(5)), note))
        }
        return found
    }
}
