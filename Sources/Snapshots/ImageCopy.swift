internal import BackupEngine
internal import CryptoPrimitives
internal import Glibc
internal import SystemIO
internal import Workers

/// Hashes an image as it comes, and writes it into a new file whose holes are all that is zero, to the block.
///
/// The file shares nothing with any other: its bytes are read and written. Never FICLONE, nor `copy_file_range`, which clones where
/// it can (XFS, btrfs). One thread.
final class ImageCopy: FrameSink {
    let frameByteCount = 1 << 20
    /// What is looked at for zeros: the block of all file systems that matter.
    private static let blockByteCount = 4096
    /// So much is written before the disk is waited for, so that it never all comes at the end.
    private static let writeBackByteCount: UInt64 = 32 << 20

    private let path: String
    /// nil: nothing is written, only hashed.
    private let target: CopiedFile?
    private let buffers: BufferPool
    private let zeros: Buffer
    private var hasher = SHA256Hasher()
    private var writtenBack: UInt64 = 0
    private(set) var byteCount: UInt64 = 0

    /// Only hashes.
    init() {
        path = ""
        target = nil
        (buffers, zeros) = Self.memory(frameByteCount)
    }

    /// Makes the file, its owner's alone, which must be new. It has its length from the start where that is known: XFS would take room ahead
    /// of a file that grows, and leave it in the holes. Where the image that it is to replace is written in place (btrfs), it is.
    init(
        making path: String, ofByteCount byteCount: UInt64?, toReplace image: ImageClaim? = nil
    ) throws(EngineError) {
        self.path = path
        (buffers, zeros) = Self.memory(frameByteCount)
        do throws(Errno) {
            let file = try OwnedFile(
                opening: path, for: .readWrite, options: [.create, .exclusive, .noFollow], mode: 0o600)
            try file.setPermissions(0o600)
            if let image { file.takeWriteMode(of: image.file) }
            if let byteCount { try file.truncate(to: byteCount) }
            target = CopiedFile(file)
        } catch {
            throw Self.failure(path, "cannot be made", error)
        }
    }

    private static func memory(_ frameByteCount: Int) -> (BufferPool, Buffer) {
        let pool = BufferPool(capacityByteCount: (FrameWindow.frameLimit + 2) * frameByteCount)
        // Fresh from the system, so zeros.
        return (pool, pool.takeWaiting(byteCount: frameByteCount))
    }

    private static func failure(_ path: String, _ what: String, _ error: Errno) -> EngineError {
        let isFull = error == .noSpace || error == .quotaExceeded
        return EngineError(isFull ? .noRoom : .target, "\"\(path)\" \(what): \(error)", cause: error)
    }

    func awaitRoom() {}
    func takeFrameBuffer() -> Buffer { buffers.takeWaiting(byteCount: frameByteCount) }

    func submit(_ raw: Buffer, count: Int) throws {
        let bytes = raw.prefix(count)
        hasher.update(bytes)
        if let target {
            do throws(Errno) {
                try write(bytes, to: target.file)
                try writeBack(target.file)
            } catch {
                throw Self.failure(path, "cannot be written at \(byteCount)", error)
            }
        }
        byteCount += UInt64(count)
    }

    func submitZeroBlocks(_ blocks: UInt64) {
        for _ in 0..<blocks { hasher.update(zeros.prefix(frameByteCount)) }
        byteCount += blocks * UInt64(frameByteCount)
    }

    /// Writes the runs of blocks that are not all zero.
    private func write(_ bytes: UnsafeRawBufferPointer, to file: borrowing OwnedFile) throws(Errno) {
        var start = 0
        while start < bytes.count {
            var end = start
            while end < bytes.count, !isZero(bytes, at: end) { end += Self.blockByteCount }
            end = min(end, bytes.count)
            if end > start {
                try file.write(
                    UnsafeRawBufferPointer(rebasing: bytes[start..<end]), at: byteCount + UInt64(start))
            }
            start = end
            while start < bytes.count, isZero(bytes, at: start) { start += Self.blockByteCount }
        }
    }

    private func isZero(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        guard let base = bytes.baseAddress, let zero = zeros.bytes.baseAddress else { return true }
        return memcmp(base + offset, zero, min(Self.blockByteCount, bytes.count - offset)) == 0
    }

    private func writeBack(_ file: borrowing OwnedFile) throws(Errno) {
        guard byteCount >= writtenBack + 2 * Self.writeBackByteCount else { return }
        let middle = writtenBack + Self.writeBackByteCount
        try file.startWriteBack(middle..<middle + Self.writeBackByteCount)
        try file.finishWriteBack(writtenBack..<middle)
        writtenBack = middle
    }

    func finishHash() -> SHA256Digest { hasher.finalize() }

    /// Gives the file its length, and owner, mode and attributes of the image that it is to replace; on the disk when this returns.
    /// Returns what it takes there.
    func finishFile(toReplace image: ImageClaim? = nil) throws(EngineError) -> UInt64 {
        guard let target else { preconditionFailure("internal error: a file that is not written is finished") }
        do throws(Errno) {
            try target.file.truncate(to: byteCount)
            if let image { try target.file.takeAppearance(of: image.file) }
            try target.file.synchronize()
            target.file.advise(.done)
            return try target.file.facts().allocatedByteCount
        } catch {
            throw Self.failure(path, "cannot be finished", error)
        }
    }
}

/// The descriptor of the file that is written.
private final class CopiedFile {
    let file: OwnedFile

    init(_ file: consuming OwnedFile) { self.file = file }
}
