internal import Glibc
internal import Synchronization
internal import SystemIO
internal import Workers

/// An open target. Several threads write at once, each at its own offset.
///
/// A target that was there before is made unusable first: its first and last MiB, where partition tables and file systems have
/// their marks, are zeroed on the disk, and what belongs there is held back until `finish`. So whatever ends a restore early, a
/// power cut among it, leaves nothing that looks like a disk.
///
/// Whole blocks go past the page cache where the file system allows it: an image is larger than memory, and what is on the
/// disk when it is written need not be waited for at the end.
final class RestoreOutput: Sendable {
    private static let alignment = 4096

    private let file: OwnedFile
    /// The same target for direct writes; nil where there are none.
    private let direct: OwnedFile?
    private let directIsRefused = Atomic<Bool>(false)
    private let path: String
    private let isDevice: Bool
    private let isNew: Bool
    /// The bytes of first and last MiB, as far as they have come; empty for a new file, which has no name until it is complete.
    private let edges: Mutex<[(range: Range<UInt64>, bytes: [UInt8])]>

    init(_ file: consuming OwnedFile, path: String, isDevice: Bool, isNew: Bool, rawByteCount: UInt64) {
        self.file = file
        self.path = path
        self.isDevice = isDevice
        self.isNew = isNew
        edges = Mutex(isNew ? [] : Self.edgeRanges(rawByteCount).map { ($0, [UInt8](repeating: 0, count: $0.count)) })
        // By the descriptor's own name in proc(5): the path may lead elsewhere by now, and a device is held exclusively.
        direct = try? OwnedFile(opening: "/proc/self/fd/\(self.file.descriptor)", for: .write, options: [.direct])
    }

    private static func edgeRanges(_ rawByteCount: UInt64) -> [Range<UInt64>] {
        let size: UInt64 = 1 << 20
        guard rawByteCount > 2 * size else { return [0..<rawByteCount] }
        return [0..<size, rawByteCount - size..<rawByteCount]
    }

    /// Zeroes what says what the target holds, for good.
    func makeUnusable() throws {
        do throws(Errno) {
            for range in edges.withLock({ $0.map(\.range) }) { try file.zeroRange(range) }
            try file.synchronize()
        } catch {
            throw EngineError(.target, "\"\(path)\" cannot be written: \(error)", cause: error)
        }
    }

    /// Whether any of these bytes are held back.
    func holdsBack(_ range: Range<UInt64>) -> Bool {
        edges.withLock { $0.contains { $0.range.overlaps(range) } }
    }

    /// Fills the buffer with what the target has; false where it cannot be read.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        (try? file.read(at: offset, into: buffer)) == buffer.count
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
        guard holdsBack(offset..<offset + UInt64(bytes.count)) else { return try writeThrough(bytes, at: offset) }
        var start = offset
        let end = offset + UInt64(bytes.count)
        while start < end {
            // Up to where being held back begins or ends.
            let next = edges.withLock { edges in
                edges.flatMap { [$0.range.lowerBound, $0.range.upperBound] }.filter { $0 > start && $0 < end }.min()
                    ?? end
            }
            let part = UnsafeRawBufferPointer(rebasing: bytes[Int(start - offset)..<Int(next - offset)])
            if !keep(part, at: start) { try writeThrough(part, at: start) }
            start = next
        }
    }

    private func keep(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
        edges.withLock { edges in
            guard let index = edges.firstIndex(where: { $0.range.contains(offset) }) else { return false }
            let from = Int(offset - edges[index].range.lowerBound)
            edges[index].bytes.replaceSubrange(from..<from + bytes.count, with: bytes)
            return true
        }
    }

    private func writeThrough(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
        do throws(Errno) {
            let whole = try writeDirectly(bytes, at: offset)
            let rest = UnsafeRawBufferPointer(rebasing: bytes[whole...])
            guard !rest.isEmpty else { return }
            let start = offset + UInt64(whole)
            try file.write(rest, at: start)
            // Not everything at the end: the disk starts now.
            try? file.startWriteBack(start..<start + UInt64(rest.count))
        } catch {
            throw EngineError(.target, "\"\(path)\" cannot be written at \(offset): \(error)", cause: error)
        }
    }

    /// Writes what has whole blocks at aligned places; returns how many bytes that were.
    private func writeDirectly(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) -> Int {
        let mask = Self.alignment - 1
        let whole = bytes.count & ~mask
        guard direct != nil, !directIsRefused.load(ordering: .relaxed), whole > 0, offset & UInt64(mask) == 0,
            UInt(bitPattern: bytes.baseAddress) & UInt(mask) == 0
        else { return 0 }
        do throws(Errno) {
            try direct?.write(UnsafeRawBufferPointer(rebasing: bytes[..<whole]), at: offset)
            return whole
        } catch {
            // A device with larger blocks, or a file system that finds out late: from now on through the page cache.
            guard error == .invalidArgument else { throw error }
            directIsRefused.store(true, ordering: .relaxed)
            return 0
        }
    }

    /// A file is a hole there already; a device is zeroed.
    func writeZeros(_ range: Range<UInt64>) throws {
        guard isDevice else { return }
        do throws(Errno) {
            try file.zeroRange(range)
        } catch {
            throw EngineError(.target, "\"\(path)\" cannot be zeroed at \(range.lowerBound): \(error)", cause: error)
        }
    }

    /// Writes consecutive pieces; returns what went wrong.
    func write(_ pieces: [RawPiece], at rawOffset: UInt64) -> (any Error)? {
        var offset = rawOffset
        do {
            for piece in pieces {
                switch piece {
                case .data(let buffer, let count): try write(buffer.prefix(count), at: offset)
                case .zeros(let count): try writeZeros(offset..<offset + count)
                }
                offset += piece.byteCount
            }
            return nil
        } catch {
            return error
        }
    }

    /// Everything is on the disk when this returns: what makes the target usable last.
    func finish() throws {
        do throws(Errno) {
            try file.synchronize()
            let held = edges.withLock { edges in
                defer { edges = [] }
                return edges
            }
            for (range, bytes) in held {
                var failure: Errno?
                bytes.withUnsafeBytes { bytes in
                    do throws(Errno) { try file.write(bytes, at: range.lowerBound) } catch { failure = error }
                }
                if let failure { throw failure }
            }
            if !held.isEmpty { try file.synchronize() }
            if isNew {
                try FileTree.renameWithoutReplacing(RestoreTarget.partialPath(path), to: path)
                try syncDirectory(Folder.parentPath(of: path))
            }
        } catch {
            throw EngineError(.target, "\"\(path)\" cannot be synced: \(error)", cause: error)
        }
    }

    /// After a failure for good: a file that we made must not look like an image. A device is unusable as it is.
    func abandon() {
        if isNew {
            try? FileTree.remove(RestoreTarget.partialPath(path))
        } else if !isDevice {
            try? file.truncate(to: 0)
        }
    }
}
