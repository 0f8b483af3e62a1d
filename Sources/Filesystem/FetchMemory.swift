internal import Synchronization
internal import Workers

/// The ciphertext memory of one backend: a share of what all backends have in common, and a little of its own.
///
/// | asked for | gets |
/// |---|---|
/// | ahead of a reader | of the common memory, at most two thirds of it for one backend; never waits |
/// | for a reader that waits | the same, and where that is short, the backend's own; waits for a while |
///
/// So a backend that hangs, with its fetch threads holding memory, leaves a third to the others; if two hang, the others still
/// have their own for the frames somebody waits for.
final class FetchMemory: Sendable {
    /// Memory of a fetch; goes back when the last reference is gone.
    final class Block: Sendable {
        let buffer: Buffer
        // Safe because: written by the one fetch that took it, only read when that is over.
        nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer
        private let owner: FetchMemory?

        fileprivate init(_ buffer: Buffer, _ byteCount: Int, sharedOf owner: FetchMemory?) {
            self.buffer = buffer
            self.owner = owner
            bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[0..<byteCount])
        }

        deinit { owner?.used.withLock { $0 -= buffer.bytes.count } }
    }

    private let shared: BufferPool
    private let own: BufferPool
    /// What this backend has of the common memory.
    private let used = Mutex(0)

    init(shared: BufferPool, ownByteCount: Int) {
        self.shared = shared
        own = BufferPool(capacityByteCount: ownByteCount)
    }

    /// What one backend may have of the common memory.
    private var shareLimit: Int { shared.capacityByteCount / 3 * 2 }
    /// What should be ahead of a reader at most: three quarters of that, for blocks are larger than what they hold, and what
    /// has come waits for its decoder while its successor is already asked for.
    var depthLimit: Int { shareLimit / 4 * 3 }

    func takeAhead(_ byteCount: Int) -> Block? {
        guard used.withLock({ $0 + byteCount <= shareLimit }), let buffer = shared.take(byteCount: byteCount) else {
            return nil
        }
        return counted(buffer, byteCount)
    }

    /// For somebody who waits. nil when nothing was given back for `milliseconds`, or it is more than there can be.
    func take(_ byteCount: Int, milliseconds: Int) -> Block? {
        let deadline = ContinuousClock.now + .milliseconds(milliseconds)
        while true {
            if let block = takeAhead(byteCount) { return block }
            if byteCount <= own.capacityByteCount {
                if let buffer = own.waitForReturn(byteCount: byteCount, milliseconds: 50) {
                    return Block(buffer, byteCount, sharedOf: nil)
                }
            } else if byteCount > shared.capacityByteCount {
                return nil
            } else if let buffer = shared.waitForReturn(byteCount: byteCount, milliseconds: 50) {
                // Larger than a share: a frame of unusual size.
                return counted(buffer, byteCount)
            }
            guard ContinuousClock.now < deadline else { return nil }
        }
    }

    private func counted(_ buffer: Buffer, _ byteCount: Int) -> Block {
        used.withLock { $0 += buffer.bytes.count }
        return Block(buffer, byteCount, sharedOf: self)
    }
}
