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

    @Test(.timeLimit(.minutes(1)))
    func `one flight for each frame: others wait for it and get its frame`() throws {
        let cache = FrameCache(capacityByteCount: 4 * size)
        guard case .claimed(let flight) = cache.claim(key(7)), case .loading(let same) = cache.claim(key(7)) else {
            Issue.record("not one flight")
            return
        }
        #expect(flight === same)
        let results = Monitor<[UInt8]>([])
        let threads = (0..<4).map { _ in
            NativeThread(name: "waiter") {
                let byte = (try? cache.wait(for: same, milliseconds: 5000))?.map { $0.bytes[0] } ?? 0
                results.withLock { $0.append(byte) }
            }
        }
        let buffer = try #require(cache.takeBuffer(byteCount: size))
        buffer.bytes[0] = 7
        cache.fulfil(flight, buffer)
        for thread in threads { thread.join() }
        #expect(results.withLock { $0 } == [7, 7, 7, 7])
    }

    @Test(.timeLimit(.minutes(1)))
    func `a failed load is told to those who wait, and the frame can be asked for again`() throws {
        struct Broken: Error {}
        let cache = FrameCache(capacityByteCount: 4 * size)
        guard case .claimed(let flight) = cache.claim(key(3)) else { return }
        let seen = Monitor<Bool?>(nil)
        let thread = NativeThread(name: "waiter") {
            do {
                _ = try cache.wait(for: flight, milliseconds: 5000)
                seen.withLock { $0 = false }
            } catch FrameCache.LoadFailure.failed(let error) {
                seen.withLock { $0 = error is Broken }
            } catch {
                // It came too late to be told: then it asks again.
                seen.withLock { $0 = true }
            }
        }
        cache.fail(flight, .failed(Broken()))
        thread.join()
        #expect(seen.withLock { $0 } == true)
        guard case .claimed = cache.claim(key(3)) else {
            Issue.record("the frame is lost")
            return
        }
    }

    @Test func `only enough absent frames are claimed together`() throws {
        let cache = FrameCache(capacityByteCount: 8 * size)
        try load(cache, 1)
        #expect(cache.claimAbsent((0..<3).map { key($0) }, minimum: 3).isEmpty)
        #expect(cache.claimAbsent((0..<4).map { key($0) }, minimum: 3).map(\.key.frame) == [0, 2, 3])
        #expect(cache.claimAbsent((0..<4).map { key($0) }, minimum: 1).isEmpty)
    }

    @Test func `closing a disk gives its memory back`() throws {
        let cache = FrameCache(capacityByteCount: 8 * size)
        for frame in 0..<3 { try load(cache, frame) }
        try load(cache, 0, disk: 2)
        cache.forget(disk: 1)
        #expect(cache.usedByteCount == size)
    }
}
