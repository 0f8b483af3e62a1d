internal import Glibc
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

    /// Opens the target for writing: a file gets its full length, all of it a hole unless it keeps its content. A new one has
    /// another name until it is complete: what an interruption leaves must not look like an image.
    func open(keepsContent: Bool = false) throws -> RestoreOutput {
        switch kind {
        case .newFile, .file:
            let isNew = kind == .newFile
            do throws(Errno) {
                let file = try OwnedFile(
                    opening: isNew ? Self.partialPath(path) : path, for: .readWrite,
                    options: keepsContent ? [.create] : [.create, .truncate])
                try file.truncate(to: rawByteCount)
                return RestoreOutput(
                    file, path: path, isDevice: false, isNew: isNew, rawByteCount: rawByteCount)
            } catch {
                throw EngineError(.target, "\"\(path)\" cannot be made: \(error)", cause: error)
            }
        case .device:
            return RestoreOutput(
                try OwnedFile(opening: path, for: .readWrite, options: [.exclusive]), path: path, isDevice: true,
                isNew: false, rawByteCount: rawByteCount)
        }
    }
}
