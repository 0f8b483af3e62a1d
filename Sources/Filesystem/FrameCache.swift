internal import Synchronization
internal import Workers

/// Who waits for a frame that is being loaded.
protocol FrameWaiter: AnyObject, Sendable {
    /// The waiter has been answered otherwise (interrupted, timed out) and does not care any more.
    var isOver: Bool { get }
    /// The load has ended. Called once for each flight, on any thread, without a lock.
    func flightEnded(_ frame: Int, _ result: Result<Buffer, FrameCache.LoadFailure>)
}

/// Decoded frames of all open disks, bounded in bytes, shared by all handles. One flight per frame: whoever asks for a frame
/// that is being loaded is told when that load ends.
///
/// | state of a frame | leaves it by |
/// |---|---|
/// | absent | `claim`, `claimAbsent`: the claimant owes an end to the flight |
/// | loading (a flight, its waiters) | `fulfil` → ready, `fail` → absent; the waiters are told, nobody blocks |
/// | ready, in one of three segments | eviction, `forget` → absent |
///
/// What goes first when memory is needed, so that one pass over a disk does not push out what others use:
///
/// | segment | comes in | goes |
/// |---|---|---|
/// | spent | a sequential reader has read it to its end | first, and beyond 8 MiB even before memory is short: its memory is still in the processor's caches |
/// | probation | loaded, or read ahead | next, the one unused for longest first |
/// | protected | used again, not by the very next read of the same handle | last; at most half of the cache, the oldest fall back to probation |
///
/// Readers that still hold a frame keep its memory until they have answered, and it counts until then.
final class FrameCache: Sendable {
    struct Key: Hashable, Sendable {
        /// Which opened archive: `OpenDisk.serial`.
        let disk: UInt64
        let frame: Int
    }

    enum Lookup {
        case ready(Buffer)
        /// The asker is told when it ends.
        case loading(FrameFlight)
        /// Absent before, now loading: the asker must load it, and is told as well.
        case claimed(FrameFlight)
    }

    /// Why a load ended without a frame.
    enum LoadFailure: Error {
        /// Given up for want of memory, or together with other frames: whoever needs it loads it alone.
        case shed
        case failed(any Error)
    }

    private struct Loading {
        let flight: FrameFlight
        var waiters: [any FrameWaiter] = []
    }

    private struct State {
        var ready: [Key: CachedFrame] = [:]
        var loading: [Key: Loading] = [:]
        var spent = FrameList()
        var probation = FrameList()
        var protected = FrameList()
        var unreadByteCount = 0
    }

    /// Spent frames that are kept all the same: kernels reread what they have split.
    private static let spentLimit = 8 << 20

    /// Safe because: frames live inside the mutex's state and never leave it.
    private struct Guarded: @unchecked Sendable { var state = State() }

    private let pool: BufferPool
    private let guarded = Mutex(Guarded())

    init(capacityByteCount: Int) {
        pool = BufferPool(capacityByteCount: capacityByteCount)
    }

    var capacityByteCount: Int { pool.capacityByteCount }
    var usedByteCount: Int { pool.usedByteCount }
    /// Frames read ahead that nobody has used yet may take so much.
    var unreadLimit: Int { capacityByteCount / 8 * 3 }
    private var protectedLimit: Int { capacityByteCount / 2 }

    // MARK: Looking up

    /// All of these frames, if every one is ready; else nil, and nothing is changed. `fresh` tells which of them the same
    /// reader has not just used.
    func use(_ keys: [Key], fresh: (Int) -> Bool) -> [Buffer]? {
        guarded.withLock { guarded in
            var frames: [CachedFrame] = []
            frames.reserveCapacity(keys.count)
            for key in keys {
                guard let frame = guarded.state.ready[key] else { return nil }
                frames.append(frame)
            }
            return frames.map { frame in
                touch(frame, isFresh: fresh(frame.key.frame), &guarded.state)
                return frame.buffer
            }
        }
    }

    /// Looks a frame up; an absent one is claimed by the asker. `waiter` is told unless the frame is ready.
    func claim(_ key: Key, isFresh: Bool = true, waiter: (any FrameWaiter)? = nil) -> Lookup {
        guarded.withLock { guarded in
            if let frame = guarded.state.ready[key] {
                touch(frame, isFresh: isFresh, &guarded.state)
                return .ready(frame.buffer)
            }
            if let loading = guarded.state.loading[key] {
                // Those who gave up leave: a load that hangs does not gather them.
                guarded.state.loading[key]?.waiters.removeAll { $0.isOver }
                if let waiter { guarded.state.loading[key]?.waiters.append(waiter) }
                return .loading(loading.flight)
            }
            let flight = FrameFlight(key: key)
            guarded.state.loading[key] = Loading(flight: flight, waiters: waiter.map { [$0] } ?? [])
            return .claimed(flight)
        }
    }

    /// Claims those of `keys` that are absent, if they are at least `minimum`; tells of those that are being loaded.
    func claimAbsent(_ keys: [Key], minimum: Int) -> (claimed: [FrameFlight], loading: [FrameFlight]) {
        guarded.withLock { guarded in
            let loading = keys.compactMap { guarded.state.loading[$0]?.flight }
            let absent = keys.filter { guarded.state.ready[$0] == nil && guarded.state.loading[$0] == nil }
            guard !absent.isEmpty, absent.count >= minimum else { return ([], loading) }
            let claimed = absent.map { key in
                let flight = FrameFlight(key: key)
                guarded.state.loading[key] = Loading(flight: flight)
                return flight
            }
            return (claimed, loading)
        }
    }

    /// Whether anybody still waits for this load.
    func isAwaited(_ flight: FrameFlight) -> Bool {
        guarded.withLock { guarded in
            guarded.state.loading[flight.key]?.waiters.contains { !$0.isOver } ?? false
        }
    }

    // MARK: Ending a claim

    /// Ends a claim with the frame.
    func fulfil(_ flight: FrameFlight, _ buffer: Buffer) {
        let waiters = guarded.withLock { guarded in
            let waiters = guarded.state.loading.removeValue(forKey: flight.key)?.waiters ?? []
            let frame = CachedFrame(key: flight.key, buffer: buffer, isUnread: waiters.isEmpty)
            if frame.isUnread { guarded.state.unreadByteCount += frame.byteCount }
            guarded.state.ready[flight.key] = frame
            guarded.state.probation.append(frame)
            return waiters
        }
        for waiter in waiters { waiter.flightEnded(flight.key.frame, .success(buffer)) }
    }

    /// Ends a claim without one.
    func fail(_ flight: FrameFlight, _ failure: LoadFailure) {
        let waiters = guarded.withLock { guarded in
            guarded.state.loading.removeValue(forKey: flight.key)?.waiters ?? []
        }
        for waiter in waiters { waiter.flightEnded(flight.key.frame, .failure(failure)) }
    }

    /// A sequential reader is done with a frame. One that others come back to stays.
    func markSpent(_ key: Key) {
        guarded.withLock { guarded in
            guard let frame = guarded.state.ready[key], frame.segment == .probation else { return }
            guarded.state.probation.remove(frame)
            frame.segment = .spent
            guarded.state.spent.prepend(frame)
        }
    }

    // MARK: Memory

    /// Memory for a frame that is to be loaded; old frames make room. nil when readers hold all of it.
    func takeBuffer(byteCount: Int) -> Buffer? {
        if guarded.withLock({ $0.state.spent.byteCount > Self.spentLimit }) { _ = evictOne() }
        while true {
            if let buffer = pool.take(byteCount: byteCount) { return buffer }
            guard evictOne() else { return nil }
        }
    }

    /// As `takeBuffer` for a frame nobody waits for: nil as well when enough such frames lie here unread.
    func takeBufferAhead(byteCount: Int) -> Buffer? {
        let unread = guarded.withLock { $0.state.unreadByteCount }
        guard unread + byteCount <= unreadLimit else { return nil }
        return takeBuffer(byteCount: byteCount)
    }

    /// As `takeBuffer`, waiting up to `milliseconds` for readers to give memory back.
    func takeBuffer(byteCount: Int, milliseconds: Int) -> Buffer? {
        guard byteCount <= pool.capacityByteCount else { return nil }
        let deadline = ContinuousClock.now + .milliseconds(milliseconds)
        while true {
            if let buffer = takeBuffer(byteCount: byteCount) { return buffer }
            // Not in one wait: what others let go of stays in the cache, where somebody has to evict it.
            if let buffer = pool.waitForReturn(byteCount: byteCount, milliseconds: 20) { return buffer }
            guard ContinuousClock.now < deadline else { return nil }
        }
    }

    /// Forgets the frames of a disk nobody has open any more.
    func forget(disk: UInt64) {
        let dropped: [Buffer] = guarded.withLock { guarded in
            guarded.state.ready.values.filter { $0.key.disk == disk }.map { Self.remove($0, &guarded.state) }
        }
        _ = dropped
    }

    private func evictOne() -> Bool {
        // The buffer leaves the lock before it goes back to its pool.
        let victim: Buffer? = guarded.withLock { guarded in
            guard
                let frame = guarded.state.spent.oldest ?? guarded.state.probation.oldest
                    ?? guarded.state.protected.oldest
            else { return nil }
            return Self.remove(frame, &guarded.state)
        }
        return victim != nil
    }

    // MARK: Segments

    private func touch(_ frame: CachedFrame, isFresh: Bool, _ state: inout State) {
        let wasUnread = frame.isUnread
        if wasUnread {
            frame.isUnread = false
            state.unreadByteCount -= frame.byteCount
        }
        // A first use, one by the very next read, and one of a frame that was done with: no sign of a working set.
        let comesBack = isFresh && !wasUnread && frame.segment != .spent
        Self.unlink(frame, &state)
        guard comesBack || frame.segment == .protected else {
            frame.segment = .probation
            state.probation.append(frame)
            return
        }
        frame.segment = .protected
        state.protected.append(frame)
        while state.protected.byteCount > protectedLimit, let oldest = state.protected.oldest, oldest !== frame {
            state.protected.remove(oldest)
            oldest.segment = .probation
            state.probation.append(oldest)
        }
    }

    private static func unlink(_ frame: CachedFrame, _ state: inout State) {
        switch frame.segment {
        case .spent: state.spent.remove(frame)
        case .probation: state.probation.remove(frame)
        case .protected: state.protected.remove(frame)
        }
    }

    /// Takes a frame out; the caller lets go of its memory outside the lock.
    private static func remove(_ frame: CachedFrame, _ state: inout State) -> Buffer {
        state.ready[frame.key] = nil
        unlink(frame, &state)
        if frame.isUnread { state.unreadByteCount -= frame.byteCount }
        return frame.buffer
    }
}
