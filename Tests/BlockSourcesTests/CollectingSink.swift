import BackupEngine
import Foundation
import Workers

/// Keeps what it is given, and counts.
final class CollectingSink: FrameSink {
    let frameByteCount: Int
    private let pool: BufferPool
    private(set) var bytes: [UInt8] = []
    private(set) var zeroFrames: UInt64 = 0
    private(set) var dataFrames = 0
    private var hasLast = false
    /// Milliseconds that each frame takes.
    var delay: UInt32 = 0

    /// No more memory than the source may hold.
    init(frameByteCount: Int = 1 << 20) {
        self.frameByteCount = frameByteCount
        pool = BufferPool(capacityByteCount: FrameWindow.frameLimit * max(frameByteCount, 64 << 10))
    }

    func awaitRoom() {}

    func takeFrameBuffer() throws -> Buffer {
        guard let buffer = pool.take(byteCount: frameByteCount) else {
            preconditionFailure("more than \(FrameWindow.frameLimit) buffers are held")
        }
        // What was there before must not matter.
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0xaa)
        return buffer
    }

    func submit(_ raw: Buffer, count: Int) throws {
        precondition(!hasLast, "a frame after the last")
        if count < frameByteCount { hasLast = true }
        if delay > 0 { usleep(delay * 1000) }
        bytes += raw.prefix(count)
        dataFrames += 1
    }

    func submitZeroBlocks(_ blocks: UInt64) throws {
        precondition(!hasLast, "a frame after the last")
        bytes += [UInt8](repeating: 0, count: Int(blocks) * frameByteCount)
        zeroFrames += blocks
    }
}

/// Only counts.
final class CountingSink: FrameSink {
    let frameByteCount = 1 << 20
    private let pool = BufferPool(capacityByteCount: FrameWindow.frameLimit << 20)
    private(set) var byteCount = 0
    private(set) var dataFrames = 0

    func awaitRoom() {}
    func takeFrameBuffer() throws -> Buffer { pool.takeWaiting(byteCount: frameByteCount) }
    func submit(_ raw: Buffer, count: Int) throws {
        byteCount += count
        dataFrames += 1
    }
    func submitZeroBlocks(_ blocks: UInt64) throws { byteCount += Int(blocks) * frameByteCount }
}
