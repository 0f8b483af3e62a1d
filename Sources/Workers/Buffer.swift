import Glibc
import Synchronization

/// A block of memory of a `BufferPool`, page-aligned. It goes back to its pool when the last reference is gone.
///
/// Safe because: the holder that fills a buffer hands it on only when it is done; from then on it is only read.
package final class Buffer: @unchecked Sendable {
    package let bytes: UnsafeMutableRawBufferPointer
    private let pool: BufferPool

    fileprivate init(_ bytes: UnsafeMutableRawBufferPointer, of pool: BufferPool) {
        self.bytes = bytes
        self.pool = pool
    }

    deinit { pool.giveBack(bytes) }

    /// The first `count` bytes, to read.
    package func prefix(_ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[0..<count])
    }
}

/// Memory with a cap in bytes: every large block of the daemon comes from one, and a cap is a cap.
///
/// Blocks are mapped from the system (so that freed memory really is given back) and reused by size.
package final class BufferPool: Sendable {
    private struct State {
        /// Blocks at rest, by size.
        var free: [Int: [UnsafeMutableRawPointer]] = [:]
        /// All mapped bytes: in use and at rest.
        var mappedByteCount = 0
        var usedByteCount = 0
    }

    package let capacityByteCount: Int
    private let state: Monitor<State>

    package init(capacityByteCount: Int) {
        self.capacityByteCount = capacityByteCount
        state = Monitor(State())
    }

    deinit {
        state.withLock { state in
            for (size, blocks) in state.free { for block in blocks { munmap(block, size) } }
        }
    }

    /// Gives the blocks at rest back to the system.
    package func trim() {
        state.withLock { state in
            for (size, blocks) in state.free {
                for block in blocks { munmap(block, size) }
                state.mappedByteCount -= size * blocks.count
            }
            state.free = [:]
        }
    }

    /// Whether a block of so many bytes can be had at all, once all others are back.
    package func fits(byteCount: Int) -> Bool { Self.roundedUp(byteCount) <= capacityByteCount }

    /// A block of at least `byteCount` bytes, or nil when that would break the cap.
    package func take(byteCount: Int) -> Buffer? {
        let size = Self.roundedUp(byteCount)
        return state.withLockQuietly { Self.take(size, from: &$0, capacity: capacityByteCount) }
            .map { Buffer($0, of: self) }
    }

    /// A block of at least `byteCount` bytes; waits until other blocks come back where the cap demands it.
    /// Not to be called by one who holds the very blocks that must come back, nor for more than the cap.
    package func takeWaiting(byteCount: Int) -> Buffer {
        let size = Self.roundedUp(byteCount)
        precondition(size <= capacityByteCount, "internal error: a block larger than its pool")
        return Buffer(state.wait { Self.take(size, from: &$0, capacity: capacityByteCount) }, of: self)
    }

    /// Waits until some block has come back or `milliseconds` are over; for callers that retry `take`.
    package func waitForReturn(byteCount: Int, milliseconds: Int) -> Buffer? {
        let size = Self.roundedUp(byteCount)
        return state.wait(milliseconds: milliseconds) { Self.take(size, from: &$0, capacity: capacityByteCount) }
            .map { Buffer($0, of: self) }
    }

    /// Waits up to `milliseconds` until a block of `byteCount` bytes could be had; takes none.
    package func awaitRoom(byteCount: Int, milliseconds: Int) -> Bool {
        let size = Self.roundedUp(byteCount)
        let room: Void? = state.wait(milliseconds: milliseconds) {
            $0.usedByteCount + size <= capacityByteCount ? () : nil
        }
        return room != nil
    }

    package var usedByteCount: Int { state.withLockQuietly { $0.usedByteCount } }

    private static func take(
        _ size: Int, from state: inout State, capacity: Int
    ) -> UnsafeMutableRawBufferPointer? {
        guard state.usedByteCount + size <= capacity else { return nil }
        let block: UnsafeMutableRawPointer
        if let reused = state.free[size]?.popLast() {
            block = reused
        } else {
            // Blocks of other sizes at rest make room first.
            while state.mappedByteCount + size > capacity,
                let other = state.free.first(where: { !$0.value.isEmpty })?.key,
                let resting = state.free[other]?.popLast()
            {
                munmap(resting, other)
                state.mappedByteCount -= other
            }
            guard
                let mapped = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                mapped != MAP_FAILED
            else { return nil }
            block = mapped
            state.mappedByteCount += size
        }
        state.usedByteCount += size
        return UnsafeMutableRawBufferPointer(start: block, count: size)
    }

    fileprivate func giveBack(_ bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        state.withLock { state in
            state.usedByteCount -= bytes.count
            state.free[bytes.count, default: []].append(base)
        }
    }

    /// Sizes are rounded up, so that blocks of nearly the same size serve each other: mapping and first touching a block costs
    /// more than filling it. What is not touched takes no memory, though it counts.
    private static func roundedUp(_ byteCount: Int) -> Int {
        let step = byteCount <= 64 << 10 ? 4 << 10 : byteCount <= 256 << 10 ? 64 << 10 : 256 << 10
        return max(step, (byteCount + step - 1) / step * step)
    }
}

/// The zeros that holes are served and hashed from: one read-only block for the whole process.
package enum Zeros {
    /// 1 MiB: as large as the largest read of the kernel, small enough for the second-level cache.
    package static let byteCount = 1 << 20

    // Safe because: mapped once, never written (PROT_READ), never unmapped.
    private nonisolated(unsafe) static let block: UnsafeRawBufferPointer = {
        let mapped = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let mapped, mapped != MAP_FAILED else { preconditionFailure("internal error: no memory for zeros") }
        return UnsafeRawBufferPointer(start: mapped, count: byteCount)
    }()

    package static func prefix(_ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: block[0..<count])
    }
}

extension UnsafeRawBufferPointer {
    /// Whether every byte is zero. Reads 64 bytes a step; ends at the first byte that is not.
    package var isAllZero: Bool {
        guard let base = baseAddress, count > 0 else { return true }
        if base.load(as: UInt8.self) != 0 || self[count - 1] != 0 { return false }
        var offset = 0
        while offset + 64 <= count {
            let block = base.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
            if block != SIMD8<UInt64>(repeating: 0) { return false }
            offset += 64
        }
        while offset < count {
            if base.load(fromByteOffset: offset, as: UInt8.self) != 0 { return false }
            offset += 1
        }
        return true
    }
}
