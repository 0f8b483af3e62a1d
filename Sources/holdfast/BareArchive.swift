internal import Archive
internal import BackupEngine
internal import SystemIO

/// An archive in a plain file.
struct FileSource: ArchiveSource {
    private let file: SharedFile
    let byteCount: UInt64

    init(path: String) throws(EngineError) {
        do throws(Errno) {
            file = SharedFile(try OwnedFile(opening: path, for: .read))
            byteCount = try file.file.byteCount()
        } catch {
            throw EngineError(.source, "\"\(path)\" cannot be read: \(error)", cause: error)
        }
    }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard try file.file.read(at: archiveOffset, into: buffer) == buffer.count else {
            throw EngineError(.truncated, "the archive ends before offset \(archiveOffset + UInt64(buffer.count))")
        }
    }
}

/// A file with several holders.
private final class SharedFile: Sendable {
    let file: OwnedFile
    init(_ file: consuming OwnedFile) { self.file = file }
}
