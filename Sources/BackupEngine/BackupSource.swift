internal import Archive
package import BackupNames
internal import Catalog
internal import Glibc
internal import Manifest
internal import SystemIO
internal import Workers

/// What is backed up by the command: a file, a block device, or a stream.
package struct BackupSource: Sendable {
    package let path: String

    /// `-` is standard input.
    package init(path: String) {
        self.path = path
    }
}

extension Engine {
    /// Backs up a source as a disk. The length of a file or device is known and must come; a stream ends where it ends.
    /// `progress` has 0 for the total of a stream.
    package func backUp(
        _ source: BackupSource, as disk: DiskName, to backend: Backend, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> VerifiedManifest {
        let input = try SourceInput.open(source)
        if input.byteCount == 0 {
            throw EngineError(.emptyImage, "\"\(source.path)\" is empty: there is nothing to back up")
        }
        let session = try BackupSession(engine: self, backend: backend, disk: disk, consistency: "none")
        do {
            try input.stream(to: session, progress)
        } catch {
            session.abort()
            throw EngineError(error, subject: "backing up \"\(source.path)\"")
        }
        try session.finishUpload(declaredByteCount: input.byteCount)
        try session.register()
        do {
            guard let record = try catalog.access(session.identifier) else {
                throw EngineError(.catalog, "the backup \(session.identifier) is gone again")
            }
            return try manifest(of: record)
        } catch {
            throw EngineError(error, subject: "\(session.identifier)")
        }
    }
}

/// An opened source, read once from front to back.
private struct SourceInput: ~Copyable {
    private let file: OwnedFile
    private let path: String
    /// nil for a stream.
    let byteCount: UInt64?
    private let hasHoles: Bool

    private init(_ file: consuming OwnedFile, path: String, byteCount: UInt64?, hasHoles: Bool) {
        self.file = file
        self.path = path
        self.byteCount = byteCount
        self.hasHoles = hasHoles
    }

    static func open(_ source: BackupSource) throws(EngineError) -> SourceInput {
        do throws(Errno) {
            let file =
                source.path == "-"
                ? OwnedFile(adopting: try Errno.check { dup(0) }) : try OwnedFile(opening: source.path, for: .read)
            file.advise(.sequential)
            let facts = try file.facts()
            switch facts.kind {
            case .regular:
                return SourceInput(file, path: source.path, byteCount: facts.byteCount, hasHoles: true)
            case .blockDevice:
                let size = try file.blockDeviceByteCount()
                return SourceInput(file, path: source.path, byteCount: size, hasHoles: false)
            case .directory: throw Errno.isDirectory
            case .symbolicLink, .characterDevice, .pipe, .socket, .other:
                return SourceInput(file, path: source.path, byteCount: nil, hasHoles: false)
            }
        } catch {
            throw EngineError(.source, "\"\(source.path)\" cannot be read: \(error)", cause: error)
        }
    }

    borrowing func stream(to session: BackupSession, _ progress: ProgressReport) throws {
        if let byteCount {
            try streamExtents(byteCount, to: session, progress)
        } else {
            try streamPipe(to: session, progress)
        }
    }

    /// A file or device of known length; holes are asked for and not read.
    private borrowing func streamExtents(
        _ byteCount: UInt64, to session: BackupSession, _ progress: ProgressReport
    ) throws {
        let frame = UInt64(session.frameByteCount)
        var offset: UInt64 = 0
        var dataEnd: UInt64 = 0
        while offset < byteCount {
            if hasHoles, offset >= dataEnd {
                let data = try reading { () throws(Errno) in try file.seekData(from: offset) } ?? byteCount
                // Whole frames of a hole; a frame that is partly data is read.
                let blocks = (min(data, byteCount) - offset) / frame
                if blocks > 0 {
                    // In steps, so that the progress of a large hole shows.
                    let step = min(blocks, (1 << 30) / frame)
                    try session.submitZeroBlocks(step)
                    offset += step * frame
                    try progress(offset, byteCount)
                    continue
                }
                if data < byteCount {
                    dataEnd = try reading { () throws(Errno) in try file.seekHole(from: data) } ?? byteCount
                } else {
                    dataEnd = byteCount
                }
            }
            let count = Int(min(frame, byteCount - offset))
            let buffer = try session.takeFrameBuffer()
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count])
            let size = try reading { () throws(Errno) in try file.read(at: offset, into: part) }
            guard size == count else {
                throw EngineError(
                    .source, "\"\(path)\" became shorter while it was read: it ends at \(offset + UInt64(size))")
            }
            try session.submit(buffer, count: count)
            offset += UInt64(count)
            try progress(offset, byteCount)
        }
    }

    /// A stream: frames are filled as the bytes come.
    private borrowing func streamPipe(to session: BackupSession, _ progress: ProgressReport) throws {
        var total: UInt64 = 0
        while true {
            let buffer = try session.takeFrameBuffer()
            var fill = 0
            while fill < session.frameByteCount {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[fill..<session.frameByteCount])
                let count = try reading { () throws(Errno) in try file.read(into: part) }
                if count == 0 { break }
                fill += count
            }
            if fill > 0 { try session.submit(buffer, count: fill) }
            total += UInt64(fill)
            try progress(total, 0)
            if fill < session.frameByteCount { return }
        }
    }

    private borrowing func reading<Value>(_ body: () throws(Errno) -> Value) throws(EngineError) -> Value {
        do throws(Errno) {
            return try body()
        } catch {
            throw EngineError(.source, "\"\(path)\" cannot be read: \(error)", cause: error)
        }
    }
}
