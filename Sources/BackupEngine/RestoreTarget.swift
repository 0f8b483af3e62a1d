internal import Glibc
internal import Synchronization
internal import SystemIO
internal import Workers

/// Where a restore goes: looked at before anything is fetched, opened for writing only when everything is verified.
struct RestoreTarget: Sendable {
    private enum Kind: Sendable { case newFile, file, device }

    /// Whether it gets its name only when it is complete: then it may be written before everything is verified.
    var isNewFile: Bool { kind == .newFile }

    private let path: String
    private let kind: Kind
    private let rawByteCount: UInt64

    /// What a new file is called until it is complete.
    static func partialPath(_ path: String) -> String { path + ".partial" }

    /// Checks that the target can take the image. A file that has data, and a device that does, need `force`; a device that is
    /// mounted or otherwise held is refused always.
    static func examine(_ path: String, rawByteCount: UInt64, force: Bool) throws(EngineError) -> RestoreTarget {
        let facts: FileFacts
        do throws(Errno) {
            facts = try FileFacts.of(path)
        } catch {
            guard error == .noEntry else {
                throw EngineError(.target, "\"\(path)\" cannot be examined: \(error)", cause: error)
            }
            try checkSpace(besides: path, rawByteCount)
            return RestoreTarget(path: path, kind: .newFile, rawByteCount: rawByteCount)
        }
        switch facts.kind {
        case .regular:
            guard facts.byteCount == 0 || force else {
                throw EngineError(.targetInUse, "\"\(path)\" is not empty", hint: "--force overwrites it")
            }
            return RestoreTarget(path: path, kind: .file, rawByteCount: rawByteCount)
        case .blockDevice:
            try examineDevice(path, rawByteCount, force)
            return RestoreTarget(path: path, kind: .device, rawByteCount: rawByteCount)
        default:
            throw EngineError(.target, "\"\(path)\" is neither a file nor a block device")
        }
    }

    /// A folder that lacks the room for nothing but the largest possible image is not refused: holes are kept. Only a missing
    /// or read-only folder is.
    private static func checkSpace(besides path: String, _ rawByteCount: UInt64) throws(EngineError) {
        let folder = Folder.parentPath(of: path)
        do throws(Errno) {
            guard try FileFacts.of(folder).kind == .directory else { throw Errno.notDirectory }
        } catch {
            throw EngineError(.target, "the folder \"\(folder)\" cannot be written to: \(error)", cause: error)
        }
    }

    private static func examineDevice(_ path: String, _ rawByteCount: UInt64, _ force: Bool) throws(EngineError) {
        let size: UInt64
        let hasData: Bool
        do throws(Errno) {
            // O_EXCL of a block device fails with EBUSY while it is mounted, or held by LVM, RAID or device mapper.
            let device = try OwnedFile(opening: path, for: .readWrite, options: [.exclusive])
            size = try device.blockDeviceByteCount()
            hasData = try !isBlank(device, size)
        } catch {
            guard error == .busy else {
                throw EngineError(.target, "\"\(path)\" cannot be opened: \(error)", cause: error)
            }
            throw EngineError(.targetInUse, "\"\(path)\" is mounted or in use", cause: error)
        }
        guard size >= rawByteCount else {
            throw EngineError(.targetTooSmall, "\"\(path)\" has \(size) bytes, the image needs \(rawByteCount)")
        }
        guard force || !hasData else {
            throw EngineError(.targetInUse, "\"\(path)\" is not empty", hint: "--force overwrites it")
        }
    }

    /// Whether the first and last MiB are zeros: where partition tables, file systems, LVM and RAID leave their marks.
    private static func isBlank(_ device: borrowing OwnedFile, _ size: UInt64) throws(Errno) -> Bool {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(min(size, 1 << 20)), alignment: 4096)
        defer { buffer.deallocate() }
        for offset in [0, size - UInt64(buffer.count)] {
            let count = try device.read(at: offset, into: buffer)
            if !UnsafeRawBufferPointer(rebasing: buffer[..<count]).allSatisfy({ $0 == 0 }) { return false }
        }
        return true
    }

    /// Opens the target for writing: a file gets its full length, all of it a hole. A new one has another name until it is
    /// complete: what an interruption leaves must not look like an image.
    func open() throws -> RestoreOutput {
        switch kind {
        case .newFile, .file:
            let isNew = kind == .newFile
            do throws(Errno) {
                let file = try OwnedFile(
                    opening: isNew ? Self.partialPath(path) : path, for: .readWrite, options: [.create, .truncate])
                try file.truncate(to: rawByteCount)
                return RestoreOutput(file, path: path, isDevice: false, isNew: isNew)
            } catch {
                throw EngineError(.target, "\"\(path)\" cannot be made: \(error)", cause: error)
            }
        case .device:
            return RestoreOutput(
                try OwnedFile(opening: path, for: .readWrite, options: [.exclusive]), path: path, isDevice: true,
                isNew: false)
        }
    }
}

/// An open target. Several threads write at once, each at its own offset.
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

    init(_ file: consuming OwnedFile, path: String, isDevice: Bool, isNew: Bool) {
        self.file = file
        self.path = path
        self.isDevice = isDevice
        self.isNew = isNew
        // By the descriptor's own name in proc(5): the path may lead elsewhere by now, and a device is held exclusively.
        direct = try? OwnedFile(opening: "/proc/self/fd/\(self.file.descriptor)", for: .write, options: [.direct])
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws {
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

    /// Everything is on the disk when this returns.
    func finish() throws {
        do throws(Errno) {
            try file.synchronize()
            if isNew {
                try FileTree.renameWithoutReplacing(RestoreTarget.partialPath(path), to: path)
                try syncDirectory(Folder.parentPath(of: path))
            }
        } catch {
            throw EngineError(.target, "\"\(path)\" cannot be synced: \(error)", cause: error)
        }
    }

    /// After a failure: a file that we made must not look like an image.
    func abandon() {
        if isNew {
            try? FileTree.remove(RestoreTarget.partialPath(path))
        } else if !isDevice {
            try? file.truncate(to: 0)
        }
    }
}
