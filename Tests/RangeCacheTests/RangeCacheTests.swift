import Archive
import Glibc
import Synchronization
import SystemIO
import Testing
import Workers

@testable import RangeCache

@Suite(.timeLimit(.minutes(1))) struct RangeCacheTests {
    let folder = TestFolder()

    @Test func `what was read once comes from the disk, also in other pieces`() throws {
        let cache = openCache(folder)
        let model = ModelArchive(byteCount: 20 * block + 777)
        let source = cache.source(identity: identity(1), gridOrigin: 216, over: model)
        let range = 216 + 2 * block..<216 + 9 * block
        #expect(try source.bytes(range) == Array(model.bytes[range]))
        cache.settle()
        for inner in [range, range.lowerBound + 5..<range.upperBound - 5, 216 + 4 * block..<216 + 5 * block] {
            #expect(try source.bytes(inner) == Array(model.bytes[inner]))
        }
        #expect(model.requestCount == 1)
        #expect(cache.status.hitCount == 3)
        #expect(cache.status.missCount == 1)
        #expect(cache.status.insertedByteCount == UInt64(7 * block))
        cache.close()
    }

    @Test func `only what is missing is fetched, by one request`() throws {
        let cache = openCache(folder)
        let model = ModelArchive(byteCount: 40 * block)
        let source = cache.source(identity: identity(1), over: model)
        for start in [2, 8, 12] {
            _ = try source.bytes(start * block..<(start + 2) * block)
            cache.settle()
        }
        let before = model.requestCount
        // An edge, the middle, and two gaps that become one request.
        #expect(try source.bytes(0..<4 * block) == Array(model.bytes[0..<4 * block]))
        #expect(try source.bytes(9 * block..<13 * block) == Array(model.bytes[9 * block..<13 * block]))
        #expect(try source.bytes(7 * block..<15 * block) == Array(model.bytes[7 * block..<15 * block]))
        let requests = model.requests.withLock { $0 }.suffix(from: before)
        #expect(requests[before] == 0..<UInt64(2 * block))
        #expect(requests[before + 1] == UInt64(10 * block)..<UInt64(12 * block))
        #expect(requests.count == 3)
        #expect(cache.status.partialHitCount == 2)
        #expect(cache.status.missCount == 4)
        cache.close()
    }

    @Test func `reads that no grid fits join in the blocks they share`() throws {
        let cache = openCache(folder)
        let model = ModelArchive(byteCount: 10 * block + 123)
        let source = cache.source(identity: identity(1), gridOrigin: 300, over: model)
        for start in stride(from: 0, to: model.bytes.count, by: 100_000) {
            _ = try source.bytes(start..<min(model.bytes.count, start + 100_000))
            cache.settle()
        }
        let before = model.requestCount
        for start in stride(from: 0, to: model.bytes.count, by: 70_001) {
            let range = start..<min(model.bytes.count, start + 70_001)
            #expect(try source.bytes(range) == Array(model.bytes[range]))
        }
        #expect(model.requestCount == before)
        #expect(cache.status.badBlockCount == 0)
        cache.close()
    }

    @Test func `random reads of several archives give the archives' bytes, whatever is evicted`() throws {
        var random = SeededGenerator()
        print("seed \(random.seed)")
        let cache = openCache(folder, capacity: 3 << 20)
        let models = (0..<3).map { _ in ModelArchive(byteCount: 30 * block + .random(in: 1..<block, using: &random)) }
        let sources = models.indices.map {
            cache.source(identity: identity(UInt8($0)), gridOrigin: UInt64($0 * 321), over: models[$0])
        }
        for round in 0..<400 {
            let which = Int.random(in: 0..<3, using: &random)
            let count = Int.random(in: 1...5 * block, using: &random)
            let start = Int.random(in: 0...models[which].bytes.count - count, using: &random)
            let range = start..<start + count
            #expect(try sources[which].bytes(range) == Array(models[which].bytes[range]), "seed \(random.seed)")
            if round % 3 == 0 { cache.settle() }
        }
        let status = cache.status
        #expect(status.evictedByteCount > 0)
        #expect(status.hitCount + status.partialHitCount > 0)
        #expect(status.badBlockCount == 0, "seed \(random.seed)")
        cache.close()
    }

    @Test func `the cap holds at every instant, all files together`() throws {
        let capacity = 4 << 20
        let cache = openCache(folder, capacity: capacity)
        let isDone = Monitor(false)
        let highest = Monitor(UInt64(0))
        let watcher = NativeThread(name: "watcher") { [folder] in
            while !isDone.withLockQuietly({ $0 }) {
                let now = folder.allocatedByteCount
                highest.withLock { $0 = max($0, now) }
            }
        }
        let model = ModelArchive(byteCount: 200 * block)
        for number in 0..<2 {
            let source = cache.source(identity: identity(UInt8(number)), over: model)
            for start in stride(from: 0, to: 200, by: 7) {
                _ = try source.bytes(start * block..<min(200, start + 7) * block)
                cache.settle()
            }
        }
        isDone.withLock { $0 = true }
        watcher.join()
        let most = highest.withLock { $0 }
        #expect(most <= UInt64(capacity))
        #expect(most > UInt64(capacity) * 3 / 4)
        #expect(cache.status.evictedByteCount > UInt64(300 * block))
        cache.close()
    }

    @Test func `another archive never gets these bytes, nor the same with another grid`() throws {
        let cache = openCache(folder)
        let first = ModelArchive(byteCount: 8 * block)
        let second = ModelArchive(byteCount: 8 * block)
        _ = try cache.source(identity: identity(1), over: first).bytes(0..<8 * block)
        cache.settle()
        #expect(try cache.source(identity: identity(2), over: second).bytes(0..<8 * block) == second.bytes)
        cache.settle()
        let shifted = cache.source(identity: identity(1), gridOrigin: 100, over: first)
        #expect(try shifted.bytes(0..<8 * block) == first.bytes)
        #expect(first.requestCount == 2)
        #expect(second.requestCount == 1)
        cache.close()
    }

    @Test func `a read beyond the end is the inner source's to refuse, and an empty one is none`() throws {
        struct Refusal: Error {}
        struct Short: ArchiveSource {
            let byteCount: UInt64 = 10
            func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
                guard offset + UInt64(buffer.count) <= 10 else { throw Refusal() }
            }
        }
        let cache = openCache(folder)
        let source = cache.source(identity: identity(1), over: Short())
        #expect(throws: Refusal.self) { try source.bytes(5..<11) }
        #expect(try source.bytes(5..<5) == [])
        cache.close()
    }

    @Test func `an error of the backend goes through and nothing is stored`() throws {
        struct Gone: Error {}
        struct Broken: ArchiveSource {
            let byteCount: UInt64 = 1 << 20
            func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws { throw Gone() }
        }
        let cache = openCache(folder)
        let source = cache.source(identity: identity(1), over: Broken())
        #expect(throws: Gone.self) { try source.bytes(0..<1000) }
        cache.settle()
        #expect(cache.status.insertedByteCount == 0)
        #expect(throws: Gone.self) { try source.bytes(0..<1000) }
        cache.close()
    }

    @Test func `eight threads read at random and never get a wrong byte`() throws {
        let cache = openCache(folder, capacity: 3 << 20)
        let models = (0..<2).map { _ in ModelArchive(byteCount: 40 * block + 99) }
        let sources = models.indices.map {
            cache.source(identity: identity(UInt8($0)), gridOrigin: 99, over: models[$0])
        }
        let wrong = Atomic<Int>(0)
        let seed = UInt64.random(in: 1 ... .max)
        print("seed \(seed)")
        let threads = (0..<8).map { number in
            NativeThread(name: "reader") {
                var random = SeededGenerator(seed &+ UInt64(number))
                for _ in 0..<60 {
                    let which = Int.random(in: 0..<2, using: &random)
                    let start = 99 + Int.random(in: 0..<36, using: &random) * block
                    let range = start..<start + Int.random(in: 1...4, using: &random) * block
                    let bytes = try? sources[which].bytes(range)
                    if bytes != Array(models[which].bytes[range]) { wrong.add(1, ordering: .relaxed) }
                    if Int.random(in: 0..<20, using: &random) == 0 {
                        _ = sources[which].discard(
                            UInt64(range.lowerBound)..<UInt64(range.upperBound), attempt: 0)
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(wrong.load(ordering: .relaxed) == 0, "seed \(seed)")
        #expect(cache.status.hitCount + cache.status.partialHitCount > 0)
        cache.close()
    }
}
