internal import Archive
package import BackupEngine
internal import SeekableZstd
internal import Synchronization
internal import Workers

/// A piece of an answer: bytes that stay valid as long as the slice lives.
package struct ReadSlice: Sendable {
    /// What keeps the bytes alive; nil for zeros, which live for ever.
    private let owner: Buffer?
    // Safe because: the memory belongs to `owner`, and is only read once a frame is decoded.
    package nonisolated(unsafe) let bytes: UnsafeRawBufferPointer

    init(_ owner: Buffer, _ range: Range<Int>) {
        self.owner = owner
        bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(owner.bytes)[range])
    }

    init(zeros count: Int) {
        owner = nil
        bytes = Zeros.prefix(count)
    }
}

/// An opened backup with everything reads need: shared by all handles on its files.
package final class OpenDisk: Sendable {
    package let backup: OpenBackup
    let serial: UInt64
    private let readPath: ReadPath

    init(backup: OpenBackup, serial: UInt64, readPath: ReadPath) {
        self.backup = backup
        self.serial = serial
        self.readPath = readPath
    }

    deinit { readPath.cache.forget(disk: serial) }

    package var rawByteCount: UInt64 { backup.reader.rawByteCount }
    var table: SeekTable { backup.reader.seekTable }

    /// Reads raw bytes; the range must lie inside the image. Cached frames are answered on this thread at once.
    func read(_ range: Range<UInt64>, planner: borrowing Mutex<ReadAheadPlanner>) throws -> [ReadSlice] {
        guard !range.isEmpty else { return [] }
        let first = table.frameIndex(containingRawOffset: range.lowerBound)
        var last = first
        while table.rawRange(ofFrame: last).upperBound < range.upperBound { last += 1 }
        let window = planner.withLock { $0.note(read: range, lastFrame: last) }
        if window > 0 { readPath.readAhead(self, after: last, window: window) }
        var slices: [ReadSlice] = []
        for index in first...last {
            let frame = table.rawRange(ofFrame: index)
            let part = range.clamped(to: frame)
            if table.isZeroFrame(index) {
                var rest = part.count
                while rest > 0 {
                    let count = min(rest, Zeros.byteCount)
                    slices.append(ReadSlice(zeros: count))
                    rest -= count
                }
            } else {
                let buffer = try readPath.frame(index, of: self)
                let start = Int(part.lowerBound - frame.lowerBound)
                slices.append(ReadSlice(buffer, start..<start + part.count))
                if window > 0, part.upperBound == frame.upperBound {
                    readPath.cache.markSpent(FrameCache.Key(disk: serial, frame: index))
                }
            }
        }
        return slices
    }
}
