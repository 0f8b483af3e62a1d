internal import BackupEngine
internal import Foundation
internal import SystemIO

/// The notes of backups of guests that are under way: `<state>/guests/<token>.json`, one for each, written before anything is done in
/// QEMU. They say where to look; what is ours there is told by its name.
struct GuestJournal: Sendable {
    struct Note: Codable, Hashable, Sendable {
        var version = 1
        let socket: String
        /// The agent of a guest that is frozen, or may be.
        var frozenAgent: String?
    }

    /// The folder.
    let path: String

    private static let noteLimit = 64 << 10

    func write(_ note: Note, _ token: GuestToken) throws(EngineError) {
        do {
            try makeDirectories(path, mode: 0o700)
            let bytes = Array(try JSONEncoder().encode(note))
            try bytes.withUnsafeBytes { try atomicReplace(file(token), $0, mode: 0o600) }
        } catch {
            throw EngineError(.source, "the backup of a guest cannot be noted in \"\(path)\": \(error)", cause: error)
        }
    }

    func remove(_ token: GuestToken) throws(Errno) {
        do throws(Errno) {
            try FileTree.remove(file(token))
        } catch  where error == .noEntry {}
    }

    /// What is noted; a file that is no note of ours is passed over.
    func notes() -> [(token: GuestToken, note: Note)] {
        let entries = (try? Folder.entries(of: path)) ?? []
        return entries.compactMap { entry in
            guard let name = entry.name, name.hasSuffix(".json"), let token = GuestToken(String(name.dropLast(5))),
                let bytes = try? readWholeFile(path + "/" + name, maximumByteCount: Self.noteLimit),
                let note = try? JSONDecoder().decode(Note.self, from: Data(bytes)), note.version == 1
            else { return nil }
            return (token, note)
        }
    }

    /// One backup of a guest at a time: its NBD server is one, and so is its monitor. nil: somebody else has it.
    func lock(_ socket: String) throws(Errno) -> GuestLock? {
        try makeDirectories(path, mode: 0o700)
        // Two sockets that are called alike here only wait for each other.
        let name = String(socket.map { $0 == "/" ? "_" : $0 }.suffix(200))
        let file = try OwnedFile(opening: path + "/" + name + ".lock", for: .readWrite, options: [.create, .noFollow])
        return try file.tryLock() ? GuestLock(file) : nil
    }

    private func file(_ token: GuestToken) -> String { "\(path)/\(token.text).json" }
}

/// Held as long as this lives.
final class GuestLock: Sendable {
    private let file: OwnedFile

    init(_ file: consuming OwnedFile) { self.file = file }
}
