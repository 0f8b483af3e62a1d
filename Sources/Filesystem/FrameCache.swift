internal import Workers

/// Decoded frames of all open disks, bounded in bytes, shared by all handles. One flight per frame: whoever asks for a frame
/// that is being loaded waits for that load.
///
/// A frame is *absent*, *loading* (one claimant owes a result to those who wait) or *ready*. A claimant ends its claim by
/// `fulfil` or `fail`, always. What was used longest ago goes first when memory is needed; readers that still hold a frame
/// keep its memory until they have answered, and it counts until then.
///
/// A frame that a sequential reader has read to its end is *spent*: it goes before all others, and even before memory is
/// short. So one pass over a disk does not push out what others use, and its frames are decoded into memory that is still
/// in the processor's caches: a tenth less time than with memory that is not.
final class FrameCache: Sendable {
    struct Key: Hashable, Sendable {
        /// Which opened archive: `OpenDisk.serial`.
        let disk: UInt64
        let frame: Int
    }

    /// A load under way.
    final class Flight: Sendable {
        let key: Key
        init(key: Key) { self.key = key }
    }

    enum Lookup {
        case ready(Buffer)
        case loading(Flight)
        /// Absent before, now loading: the asker must load it.
        case claimed(Flight)
    }

    /// Why a load ended without a frame.
    enum LoadFailure: Error {
        /// There was no memory for a read-ahead; whoever waits loads it himself.
        case shed
        case failed(any Error)
    }

    private final class Node {
        let key: Key
        let buffer: Buffer
        var newer: Node?
        unowned(unsafe) var older: Node?
        var isSpent = false

        init(key: Key, buffer: Buffer) {
            self.key = key
            self.buffer = buffer
        }
    }

    private struct State {
        var ready: [Key: Node] = [:]
        var flights: [Key: Flight] = [:]
        /// Failures for those who wait, by flight.
        var failures: [ObjectIdentifier: LoadFailure] = [:]
        var waiters: [ObjectIdentifier: Int] = [:]
        /// The list runs from the oldest to the newest.
        var oldest: Node?
        unowned(unsafe) var newest: Node?
        var spentByteCount = 0
    }

    /// Spent frames that are kept all the same: kernels reread what they have split.
    private static let spentLimit = 8 << 20

    /// Safe because: nodes live inside the monitor's state and never leave it.
    private struct Guarded: @unchecked Sendable { var state = State() }

    private let pool: BufferPool
    private let guarded = Monitor(Guarded())

    init(capacityByteCount: Int) {
        pool = BufferPool(capacityByteCount: capacityByteCount)
    }

    var capacityByteCount: Int { pool.capacityByteCount }
    var usedByteCount: Int { pool.usedByteCount }

    /// Looks a frame up; an absent one is claimed by the asker.
    func claim(_ key: Key) -> Lookup {
        guarded.withLockQuietly { guarded in
            if let node = guarded.state.ready[key] {
                Self.touch(node, &guarded.state)
                return .ready(node.buffer)
            }
            if let flight = guarded.state.flights[key] { return .loading(flight) }
            let flight = Flight(key: key)
            guarded.state.flights[key] = flight
            return .claimed(flight)
        }
    }

    /// Claims those of `keys` that are absent, if they are at least `minimum`.
    func claimAbsent(_ keys: [Key], minimum: Int) -> [Flight] {
        guarded.withLockQuietly { guarded in
            let absent = keys.filter { guarded.state.ready[$0] == nil && guarded.state.flights[$0] == nil }
            guard !absent.isEmpty, absent.count >= minimum else { return [] }
            return absent.map { key in
                let flight = Flight(key: key)
                guarded.state.flights[key] = flight
                return flight
            }
        }
    }

    /// Waits for a load of somebody else. Throws its failure, `.shed` included; nil when `milliseconds` went by.
    func wait(for flight: Flight, milliseconds: Int) throws -> Buffer? {
        let id = ObjectIdentifier(flight)
        guarded.withLockQuietly { $0.state.waiters[id, default: 0] += 1 }
        let result: Result<Buffer, LoadFailure>? = guarded.wait(milliseconds: milliseconds) { guarded in
            if let failure = guarded.state.failures[id] { return .failure(failure) }
            if guarded.state.flights[flight.key] === flight { return nil }
            if let node = guarded.state.ready[flight.key] { return .success(node.buffer) }
            // Loaded, and already pushed out again.
            return .failure(.shed)
        }
        guarded.withLockQuietly { guarded in
            let left = (guarded.state.waiters[id] ?? 1) - 1
            guarded.state.waiters[id] = left > 0 ? left : nil
            if left == 0 { guarded.state.failures[id] = nil }
        }
        return try result?.get()
    }

    /// A sequential reader is done with a frame.
    func markSpent(_ key: Key) {
        guarded.withLockQuietly { guarded in
            guard let node = guarded.state.ready[key], !node.isSpent else { return }
            Self.unlink(node, &guarded.state)
            node.isSpent = true
            node.newer = guarded.state.oldest
            if let oldest = guarded.state.oldest { oldest.older = node } else { guarded.state.newest = node }
            guarded.state.oldest = node
            guarded.state.spentByteCount += node.buffer.bytes.count
        }
    }

    /// Ends a claim with the frame.
    func fulfil(_ flight: Flight, _ buffer: Buffer) {
        guarded.withLock { guarded in
            guarded.state.flights[flight.key] = nil
            let node = Node(key: flight.key, buffer: buffer)
            guarded.state.ready[flight.key] = node
            Self.append(node, &guarded.state)
        }
    }

    /// Ends a claim without one.
    func fail(_ flight: Flight, _ failure: LoadFailure) {
        guarded.withLock { guarded in
            guarded.state.flights[flight.key] = nil
            let id = ObjectIdentifier(flight)
            if guarded.state.waiters[id] != nil { guarded.state.failures[id] = failure }
        }
    }

    /// Memory for a frame that is to be loaded; old frames make room. nil when readers hold all of it.
    func takeBuffer(byteCount: Int) -> Buffer? {
        if guarded.withLockQuietly({ $0.state.spentByteCount > Self.spentLimit }) { _ = evictOldest() }
        while true {
            if let buffer = pool.take(byteCount: byteCount) { return buffer }
            guard evictOldest() else { return nil }
        }
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
            guarded.state.ready.values.filter { $0.key.disk == disk }.map { node in
                Self.remove(node, &guarded.state)
                return node.buffer
            }
        }
        _ = dropped
    }

    // MARK: The list

    private func evictOldest() -> Bool {
        // The buffer leaves the lock before it goes back to its pool.
        let victim: Buffer? = guarded.withLockQuietly { guarded in
            guard let node = guarded.state.oldest else { return nil }
            Self.remove(node, &guarded.state)
            return node.buffer
        }
        return victim != nil
    }

    private static func touch(_ node: Node, _ state: inout State) {
        guard state.newest !== node || node.isSpent else { return }
        unlink(node, &state)
        append(node, &state)
    }

    private static func remove(_ node: Node, _ state: inout State) {
        state.ready[node.key] = nil
        unlink(node, &state)
    }

    private static func append(_ node: Node, _ state: inout State) {
        node.older = state.newest
        node.newer = nil
        if let newest = state.newest { newest.newer = node } else { state.oldest = node }
        state.newest = node
    }

    private static func unlink(_ node: Node, _ state: inout State) {
        if node.isSpent {
            node.isSpent = false
            state.spentByteCount -= node.buffer.bytes.count
        }
        let older = node.older
        let newer = node.newer
        if let older { older.newer = newer } else { state.oldest = newer }
        if let newer { newer.older = older } else { state.newest = older }
        node.newer = nil
        node.older = nil
    }
}
