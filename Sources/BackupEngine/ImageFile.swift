internal import Glibc
internal import SystemIO
internal import Workers

/// A file, a block device or a stream, read once from front to back.
package final class ImageFile: ImageSource {
    private let file: OwnedFile
    private let path: String
    package let byteCount: UInt64?
    package let consistency: String
    package let consistentAt: Int64?
    private let hasHoles: Bool

    package var name: String { path }

    private init(
        _ file: consuming OwnedFile, path: String, byteCount: UInt64?, hasHoles: Bool, consistency: String,
        consistentAt: Int64?
    ) {
        self.file = file
        self.path = path
        self.byteCount = byteCount
        self.hasHoles = hasHoles
        self.consistency = consistency
        self.consistentAt = consistentAt
    }

    /// `-` is standard input. `consistency` and `consistentAt` are the facts of a momentary snapshot that is read in place of the
    /// disk itself, `name` is then what the user calls it.
    package static func open(
        _ path: String, named name: String? = nil, consistency: String = "none", consistentAt: Int64? = nil
    ) throws(EngineError) -> ImageFile {
        let name = name ?? path
        do throws(Errno) {
            let file =
                path == "-"
                ? OwnedFile(adopting: try Errno.check { dup(0) }) : try OwnedFile(opening: path, for: .read)
            file.advise(.sequential)
            let facts = try file.facts()
            switch facts.kind {
            case .regular:
                return ImageFile(
                    file, path: name, byteCount: facts.byteCount, hasHoles: true, consistency: consistency,
                    consistentAt: consistentAt)
            case .blockDevice:
                let size = try file.blockDeviceByteCount()
                return ImageFile(
                    file, path: name, byteCount: size, hasHoles: false, consistency: consistency,
                    consistentAt: consistentAt)
            case .directory: throw Errno.isDirectory
            case .symbolicLink, .characterDevice, .pipe, .socket, .other:
                return ImageFile(
                    file, path: name, byteCount: nil, hasHoles: false, consistency: consistency,
                    consistentAt: consistentAt)
            }
        } catch {
            throw EngineError(.source, "\"\(name)\" cannot be read: \(error)", cause: error)
        }
    }

    package func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        if let byteCount {
            try streamExtents(byteCount, to: sink, progress)
        } else {
            try streamPipe(to: sink, progress)
        }
    }

    /// A file or device of known length; holes are asked for and not read.
    private func streamExtents(
        _ byteCount: UInt64, to sink: some FrameSink, _ progress: ProgressReport
    ) throws {
        let frame = UInt64(sink.frameByteCount)
        var offset: UInt64 = 0
        var dataEnd: UInt64 = 0
        while offset < byteCount {
            if hasHoles, offset >= dataEnd {
                let data = try reading(at: offset) { () throws(Errno) in try file.seekData(from: offset) } ?? byteCount
                // Whole frames of a hole; a frame that is partly data is read.
                let blocks = (min(data, byteCount) - offset) / frame
                if blocks > 0 {
                    // In steps, so that the progress of a large hole shows.
                    let step = min(blocks, (1 << 30) / frame)
                    try sink.submitZeroBlocks(step)
                    offset += step * frame
                    try progress(offset, byteCount)
                    continue
                }
                if data < byteCount {
                    dataEnd = try reading(at: data) { () throws(Errno) in try file.seekHole(from: data) } ?? byteCount
                } else {
                    dataEnd = byteCount
                }
            }
            let count = Int(min(frame, byteCount - offset))
            let buffer = try sink.takeFrameBuffer()
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count])
            let size = try reading(at: offset) { () throws(Errno) in try file.read(at: offset, into: part) }
            guard size == count else {
                throw EngineError(
                    .source, "\"\(path)\" became shorter while it was read: it ends at \(offset + UInt64(size))")
            }
            try sink.submit(buffer, count: count)
            offset += UInt64(count)
            try progress(offset, byteCount)
        }
        // What was cut off looks like a hole.
        let size = hasHoles ? try reading(at: offset) { () throws(Errno) in try file.facts() }.byteCount : byteCount
        guard size >= byteCount else {
            throw EngineError(.source, "\"\(path)\" became shorter while it was read: it ends at \(size)")
        }
    }

    /// A stream: frames are filled as the bytes come.
    private func streamPipe(to sink: some FrameSink, _ progress: ProgressReport) throws {
        var total: UInt64 = 0
        while true {
            let buffer = try sink.takeFrameBuffer()
            var fill = 0
            while fill < sink.frameByteCount {
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[fill..<sink.frameByteCount])
                let count = try reading(at: total + UInt64(fill)) { () throws(Errno) in try file.read(into: part) }
                if count == 0 { break }
                fill += count
            }
            if fill > 0 { try sink.submit(buffer, count: fill) }
            total += UInt64(fill)
            try progress(total, 0)
            if fill < sink.frameByteCount { return }
        }
    }

    private func reading<Value>(at offset: UInt64, _ body: () throws(Errno) -> Value) throws(EngineError) -> Value {
        do throws(Errno) {
            return try body()
        } catch {
            throw EngineError(.source, "\"\(path)\" cannot be read at \(offset): \(error)", cause: error)
        }
    }
}
