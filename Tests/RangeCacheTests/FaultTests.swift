import Archive
import Glibc
import SystemIO
import Testing
import Workers

@testable import RangeCache

/// The cache's disk hangs, fails or is full: reads go on, in time.
@Suite(.timeLimit(.minutes(1))) struct RangeCacheFaultTests {
    let folder = TestFolder()
    let disk = FaultyDisk()
    let model = ModelArchive(byteCount: 40 * block)

    func read(_ source: any ArchiveSource, _ blocks: Range<Int>) throws {
        let range = blocks.lowerBound * block..<blocks.upperBound * block
        #expect(try source.bytes(range) == Array(model.bytes[range]))
    }

    @Test func `a disk that hangs delays one read by the time-out, the next not at all, and comes back`() throws {
        let disk = disk
        let cache = openCache(folder, timeout: 1000, retry: 50, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        try read(source, 0..<4)
        cache.settle()
        disk.set { $0.hangs = true }
        let clock = ContinuousClock()
        #expect(try clock.measure { try read(source, 0..<4) } >= .milliseconds(1000))
        #expect(cache.status.timeoutCount == 1)
        for start in 0..<30 {
            usleep(5000)
            #expect(try clock.measure { try read(source, start..<start + 4) } < .milliseconds(900))
        }
        #expect(cache.status.timeoutCount == 1)
        #expect(cache.status.state != .on)
        disk.set { $0.hangs = false }
        #expect(cache.reaches(.on))
        let hits = cache.status.hitCount
        try read(source, 0..<4)
        #expect(cache.status.hitCount == hits + 1)
        #expect(cache.close())
    }

    @Test func `many readers of a disk that hangs all go on`() throws {
        let disk = disk
        let cache = openCache(folder, timeout: 1000, retry: 10_000, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        for start in stride(from: 0, to: 40, by: 4) {
            try read(source, start..<start + 4)
            cache.settle()
        }
        disk.set { $0.hangs = true }
        let duration = ContinuousClock().measure {
            let threads = (0..<8).map { number in
                NativeThread(name: "reader") { [self] in
                    for _ in 0..<10 { try? read(source, number * 4..<number * 4 + 4) }
                }
            }
            for thread in threads { thread.join() }
        }
        // Each waited once at most; ten times would be ten seconds.
        #expect(duration < .seconds(4))
        disk.set { $0.hangs = false }
        #expect(cache.close())
    }

    @Test func `close does not wait for ever, and gives the lock back when the disk wakes`() throws {
        let disk = disk
        let cache = openCache(folder, timeout: 50, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        try read(source, 0..<4)
        cache.settle()
        disk.set { $0.hangs = true }
        try read(source, 0..<4)
        try read(source, 8..<12)
        let clock = ContinuousClock()
        var hasEnded = true
        let duration = clock.measure { hasEnded = cache.close(milliseconds: 200) }
        #expect(!hasEnded && duration < .milliseconds(1000))
        try read(source, 0..<4)
        disk.set { $0.hangs = false }
        #expect(disk.faults.wait(milliseconds: 5000) { $0.waiting == 0 ? () : nil } != nil)
        disk.letGo()
        let next = openCache(folder, retry: 20)
        _ = next.source(identity: identity(1), over: model)
        for _ in 0..<200 where next.status.state != .on { usleep(10_000) }
        #expect(next.status.state == .on)
        next.close()
    }

    @Test func `a read error is no error of the read`() throws {
        let disk = disk
        let cache = openCache(folder, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        try read(source, 0..<8)
        cache.settle()
        disk.set { $0.readError = .inputOutput }
        try read(source, 0..<4)
        #expect(cache.status.diskErrorCount >= 1)
        #expect(cache.status.state != .on)
        disk.set { $0.readError = nil }
        #expect(cache.reaches(.on))
        try read(source, 4..<8)
        #expect(cache.status.hitCount == 1)
        cache.close()
    }

    @Test(arguments: [Errno.noSpace, .inputOutput, .readOnlyFileSystem, .quotaExceeded])
    func `a write error stops inserting for a while, and reads from the cache go on`(error: Errno) throws {
        let disk = disk
        let cache = openCache(folder, retry: 200, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        try read(source, 0..<4)
        cache.settle()
        disk.set { $0.writeError = error }
        try read(source, 8..<12)
        cache.settle()
        #expect(cache.status.diskErrorCount == 1)
        try read(source, 12..<16)
        #expect(cache.status.droppedInsertCount == 1)
        #expect(cache.status.state == .on)
        try read(source, 0..<4)
        #expect(cache.status.hitCount == 1)
        disk.set { $0.writeError = nil }
        usleep(250_000)
        try read(source, 8..<12)
        cache.settle()
        try read(source, 8..<12)
        #expect(cache.status.hitCount == 2)
        cache.close()
    }

    @Test func `below the floor nothing is inserted and slots are given back, also in idle times`() throws {
        let disk = disk
        let cache = openCache(folder, floor: 10 << 20, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        try read(source, 0..<40)
        cache.settle()
        let full = folder.allocatedByteCount
        #expect(cache.status.usedSlotCount == 10)
        // 1 MiB too little: four slots bring it back, given back by eights.
        disk.set { $0.available = 9 << 20 }
        for _ in 0..<200 where cache.status.usedSlotCount > 2 { usleep(5000) }
        #expect(cache.status.usedSlotCount == 2)
        #expect(folder.allocatedByteCount + UInt64(30 * block) < full)
        #expect(cache.status.evictedByteCount == UInt64(32 * block))
        disk.set {
            $0.available = 5 << 20
            $0.releasedByteCount = 0
        }
        try read(source, 0..<8)
        cache.settle()
        for _ in 0..<200 where cache.status.usedSlotCount > 0 { usleep(5000) }
        #expect(cache.status.usedSlotCount == 0)
        #expect(cache.status.droppedInsertCount >= 1)
        cache.close()
    }

    @Test func `an insert queue that is full drops, and readers do not wait`() throws {
        let disk = disk
        let cache = openCache(folder, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        disk.set { $0.hangs = true }
        let duration = try ContinuousClock().measure {
            for round in 0..<10 { try read(source, round * 4..<round * 4 + 4) }
            for round in 0..<30 { try read(source, round..<round + 10) }
        }
        #expect(duration < .seconds(3))
        #expect(cache.status.droppedInsertCount > 0)
        disk.set { $0.hangs = false }
        cache.settle()
        #expect(cache.status.insertedByteCount > 0)
        cache.close()
    }

    @Test func `the second user of a folder goes without, and takes over when the first is gone`() throws {
        let first = openCache(folder)
        let second = openCache(folder, retry: 20)
        #expect(second.status.state == .suspended("another process uses it"))
        let source = second.source(identity: identity(1), over: model)
        try read(source, 0..<4)
        try read(first.source(identity: identity(1), over: model), 0..<4)
        first.settle()
        #expect(first.close())
        #expect(second.reaches(.on))
        try read(source, 0..<4)
        #expect(second.status.hitCount == 1)
        second.close()
    }

    @Test func `capacity 0 makes nothing, and removes what was there`() throws {
        let unwanted = openCache(folder, capacity: 0)
        #expect(unwanted.status.state == .off)
        #expect(access(folder.cache, F_OK) != 0)
        let source = unwanted.source(identity: identity(1), over: model)
        try read(source, 0..<4)
        try read(source, 0..<4)
        #expect(model.requestCount == 2)
        unwanted.close()
        let cache = openCache(folder)
        // Not under the feet of one that runs.
        openCache(folder, capacity: 0).close()
        #expect(access(folder.data, F_OK) == 0)
        cache.close()
        let last = openCache(folder, capacity: 0)
        #expect(access(folder.cache + "/v1", F_OK) != 0)
        last.close()
    }

    @Test(.enabled(if: geteuid() == 0, "mounting a file system to fill needs root"))
    func `a disk that is really full costs the cache, not the read`() throws {
        let path = folder.path + "/small"
        mkdir(path, 0o700)
        try #require(mount("tmpfs", path, "tmpfs", 0, "size=1M") == 0)
        defer { umount2(path, 2) }
        var settings = RangeStore.Settings()
        settings.freeSpaceFloorByteCount = 0
        settings.retryMilliseconds = 20
        // The cache may have more than there is.
        let cache = RangeCache(path: path + "/cache", capacityByteCount: 16 << 20, settings: settings, log: quiet)
        #expect(cache.waitUntilOpened(milliseconds: 5000))
        let source = cache.source(identity: identity(1), over: model)
        for _ in 0..<3 {
            for start in 0..<37 {
                try read(source, start..<start + 3)
                cache.settle()
            }
        }
        #expect(cache.status.droppedInsertCount + cache.status.diskErrorCount > 0)
        #expect(cache.status.hitCount > 0)
        #expect(cache.status.badBlockCount == 0)
        cache.close()
    }
}
