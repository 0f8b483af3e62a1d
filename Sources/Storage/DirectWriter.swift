internal import SystemIO

/// Writes a file from front to back past the page cache, in whole aligned blocks.
///
/// A backup is written once and rarely read soon; through the page cache it would cost a copy of every byte, push out what
/// others need, and leave the device's errors for the end. The last piece, which is no whole block, is its owner's to write.
///
/// Safe because: used under the lock of the upload that owns it.
final class DirectWriter: @unchecked Sendable {
    private static let blockByteCount = 1 << 20
    private static let alignment = 4096

    private let file: OwnedFile
    private let block: UnsafeMutableRawBufferPointer
    private var fill = 0
    private(set) var writtenByteCount: UInt64 = 0

    /// nil where the file system has no direct writes (open(2) answers EINVAL), or the file cannot be opened again.
    init?(path: String) {
        guard let file = try? OwnedFile(opening: path, for: .write, options: [.direct, .noFollow]) else { return nil }
        self.file = file
        block = .allocate(byteCount: Self.blockByteCount, alignment: Self.alignment)
    }

    deinit { block.deallocate() }

    /// What is not written yet.
    var held: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: block[..<fill]) }

    /// Takes all of `bytes`, writing whole blocks; or, where the device refuses such writes (EINVAL), takes none of them and
    /// returns false: then what was taken before is written or held.
    func append(_ bytes: UnsafeRawBufferPointer) throws(Errno) -> Bool {
        let fillBefore = fill
        let writtenBefore = writtenByteCount
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, block.count - fill)
            UnsafeMutableRawBufferPointer(rebasing: block[fill..<fill + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
            fill += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            guard fill == block.count else { continue }
            do throws(Errno) {
                try file.write(UnsafeRawBufferPointer(block), at: writtenByteCount)
            } catch {
                // Only the first block can be refused for its form; a later one fails for another reason.
                guard error == .invalidArgument, writtenBefore == writtenByteCount else { throw error }
                fill = fillBefore
                return false
            }
            writtenByteCount += UInt64(block.count)
            fill = 0
        }
        return true
    }
}
