import Synchronization
import Testing
import Workers

@testable import Filesystem

@Suite("Frame cache")
struct FrameCacheTests {
    private let size = 1 << 16

    private func key(_ frame: Int, disk: UInt64 = 1) -> FrameCache.Key { FrameCache.Key(disk: disk, frame: frame) }

    private func load(_ cache: FrameCache, _ frame: Int, disk: UInt64 = 1) throws {
        guard case .claimed(let flight) = cache.claim(key(frame, disk: disk)) else { return }
        let buffer = try #require(cache.takeBuffer(byteCount: size))
        buffer.bytes[0] = UInt8(truncatingIfNeeded: frame)
        cache.fulfil(flight, buffer)
    }

    private func isReady(_ cache: FrameCache, _ frame: Int) -> Bool {
        if case .ready = cache.claim(key(frame)) { return true }
        return false
    }

    @Test func `what was used longest ago goes first, and the cap holds`() throws {
        let cache = FrameCache(capacityByteCount: 4 * size)
        for frame in 0..<4 { try load(cache, frame) }
        #expect(isReady(cache, 0))
        try load(cache, 4)
        #expect(cache.usedByteCount == 4 * size)
        #expect(isReady(cache, 0))
        #expect(isReady(cache, 4))
        // 1 was the oldest; asking claims it.
        #expect(!isReady(cache, 1))
    }

    @Test func `one pass over a disk does not push out what others use`() throws {
        let mebibyte = 1 << 20
        let cache = FrameCache(capacityByteCount: 32 * mebibyte)
        func load(_ frame: Int) throws {
            guard case .claimed(let flight) = cache.claim(key(frame)) else { return }
            cache.fulfil(flight, try #require(cache.takeBuffer(byteCount: mebibyte)))
        }
        for frame in 0..<10 { try load(frame) }
        for frame in 100..<600 {
            try load(frame)
            cache.markSpent(key(frame))
        }
        // The pass itself takes little more than what is kept of spent frames.
        #expect(cache.usedByteCount <= 20 * mebibyte)
        for frame in 0..<10 { #expect(isReady(cache, frame), "frame \(frame)") }
        // A spent frame that is read again is like any other.
        #expect(isReady(cache, 599))
        for frame in 600..<700 {
            try load(frame)
            cache.markSpent(key(frame))
        }
        #expect(isReady(cache, 599))
    }

    @Test func `frames that readers hold count until they let go`() throws {
        let cache = FrameCache(capacityByteCount: 2 * size)
        try load(cache, 0)
        try load(cache, 1)
        guard case .ready(let first) = cache.claim(key(0)), case .ready(let second) = cache.claim(key(1)) else {
            Issue.record("not ready")
            return
        }
        #expect(cache.takeBuffer(byteCount: size) == nil)
        #expect(cache.takeBuffer(byteCount: size, milliseconds: 20) == nil)
        withExtendedLifetime((first, second)) {}
    }

    private final class Waiter: FrameWaiter {
        let isOver: Bool
        let results = Mutex<[Result<UInt8, FrameCache.LoadFailure>]>([])

        init(isOver: Bool = false) { self.isOver = isOver }

        func flightEnded(_ frame: Int, _ result: Result<Buffer, FrameCache.LoadFailure>) {
            results.withLock { $0.append(result.map { $0.bytes[0] }) }
        }

        var bytes: [UInt8] { results.withLock { $0.compactMap { try? $0.get() } } }
    }

    @Test func `one flight for each frame: all who wait get its frame, once`() throws {
        let cache = FrameCache(capacityByteCount: 4 * size)
        let waiters = (0..<4).map { _ in Waiter() }
        guard case .claimed(let flight) = cache.claim(key(7), waiter: waiters[0]) else {
            Issue.record("not claimed")
            return
        }
        for waiter in waiters[1...] {
            guard case .loading(let same) = cache.claim(key(7), waiter: waiter), same === flight else {
                Issue.record("not one flight")
                return
            }
        }
        #expect(cache.isAwaited(flight))
        let buffer = try #require(cache.takeBuffer(byteCount: size))
        buffer.bytes[0] = 7
        cache.fulfil(flight, buffer)
        #expect(waiters.allSatisfy { $0.bytes == [7] })
        #expect(isReady(cache, 7))
    }

    @Test func `a failed load is told to those who wait, and the frame can be asked for again`() throws {
        struct Broken: Error {}
        let cache = FrameCache(capacityByteCount: 4 * size)
        let waiter = Waiter()
        guard case .claimed(let flight) = cache.claim(key(3), waiter: waiter) else { return }
        cache.fail(flight, .failed(Broken()))
        guard case .failure(.failed(let error))? = waiter.results.withLock({ $0.first }), error is Broken else {
            Issue.record("the failure was not told")
            return
        }
        guard case .claimed = cache.claim(key(3)) else {
            Issue.record("the frame is lost")
            return
        }
    }

    @Test func `those who gave up are not waited for`() {
        let cache = FrameCache(capacityByteCount: 4 * size)
        guard case .claimed(let flight) = cache.claim(key(3), waiter: Waiter(isOver: true)) else { return }
        #expect(!cache.isAwaited(flight))
    }

    @Test func `frames used at least twice survive passes, read-ahead that nobody reads, and a passing dd`() throws {
        let mebibyte = 1 << 20
        let cache = FrameCache(capacityByteCount: 32 * mebibyte)
        func load(_ frame: Int) throws {
            guard case .claimed(let flight) = cache.claim(key(frame)) else { return }
            cache.fulfil(flight, try #require(cache.takeBuffer(byteCount: mebibyte)))
        }
        // The working set of a mounted file system: each frame used twice, not in a row.
        for _ in 0..<3 {
            for frame in 0..<12 { _ = try load(frame) }
        }
        // A reader that jumps about, never twice; what is read ahead and never used.
        for frame in 100..<300 { try load(frame) }
        for frame in 1000..<1200 {
            let flights = cache.claimAbsent([key(frame)], minimum: 1).claimed
            if let buffer = cache.takeBufferAhead(byteCount: mebibyte) {
                cache.fulfil(flights[0], buffer)
            } else {
                cache.fail(flights[0], .shed)
            }
        }
        // A pass over the very disk, working set included.
        for frame in 0..<100 {
            try load(frame)
            cache.markSpent(key(frame))
        }
        for frame in 0..<12 { #expect(isReady(cache, frame), "frame \(frame)") }
        #expect(cache.usedByteCount <= cache.capacityByteCount)
    }

    @Test func `what is read ahead and not used takes only its share`() throws {
        let cache = FrameCache(capacityByteCount: 16 * size)
        var taken = 0
        for frame in 0..<16 {
            guard let buffer = cache.takeBufferAhead(byteCount: size) else { break }
            cache.fulfil(cache.claimAbsent([key(frame)], minimum: 1).claimed[0], buffer)
            taken += 1
        }
        #expect(taken == 6)
        // Used, it counts no more.
        #expect(cache.use([key(0)], fresh: { _ in true }) != nil)
        #expect(cache.takeBufferAhead(byteCount: size) != nil)
    }

    @Test func `a set of frames is given whole or not at all`() throws {
        let cache = FrameCache(capacityByteCount: 4 * size)
        try load(cache, 0)
        try load(cache, 1)
        #expect(cache.use([key(0), key(1)], fresh: { _ in true })?.count == 2)
        #expect(cache.use([key(0), key(2)], fresh: { _ in true }) == nil)
        #expect(!isReady(cache, 2), "and nothing was claimed")
    }

    @Test func `only enough absent frames are claimed together`() throws {
        let cache = FrameCache(capacityByteCount: 8 * size)
        try load(cache, 1)
        #expect(cache.claimAbsent((0..<3).map { key($0) }, minimum: 3).claimed.isEmpty)
        #expect(cache.claimAbsent((0..<4).map { key($0) }, minimum: 3).claimed.map(\.key.frame) == [0, 2, 3])
        #expect(cache.claimAbsent((0..<4).map { key($0) }, minimum: 1).claimed.isEmpty)
    }

    @Test func `closing a disk gives its memory back`() throws {
        let cache = FrameCache(capacityByteCount: 8 * size)
        for frame in 0..<3 { try load(cache, frame) }
        try load(cache, 0, disk: 2)
        cache.forget(disk: 1)
        #expect(cache.usedByteCount == size)
    }
}
