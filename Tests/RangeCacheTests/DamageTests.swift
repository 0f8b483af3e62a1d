import Archive
import Glibc
import Synchronization
import SystemIO
import Testing
import Workers

@testable import RangeCache

/// What lies on the disk is damaged, old, cut short or somebody else's: never a wrong byte.
@Suite(.timeLimit(.minutes(1))) struct RangeCacheDamageTests {
    let folder = TestFolder()

    /// Fills a cache with a whole archive, in pieces, and closes it.
    func fill(_ model: ModelArchive, _ number: UInt8 = 1, capacity: Int = 16 << 20) throws {
        let cache = openCache(folder, capacity: capacity)
        let source = cache.source(identity: identity(number), over: model)
        for start in stride(from: 0, to: model.bytes.count, by: 3 * block) {
            _ = try source.bytes(start..<min(model.bytes.count, start + 3 * block))
            cache.settle()
        }
        #expect(cache.close())
    }

    @Test func `a restart finds everything again`() throws {
        let model = ModelArchive(byteCount: 30 * block + 5)
        try fill(model)
        let cache = openCache(folder)
        let source = cache.source(identity: identity(1), over: model)
        let before = model.requestCount
        #expect(try source.bytes(0..<model.bytes.count) == model.bytes)
        #expect(model.requestCount == before)
        #expect(cache.status.hitCount == 1)
        cache.close()
    }

    @Test func `after a restart the oldest goes first`() throws {
        let old = ModelArchive(byteCount: 8 * block)
        let new = ModelArchive(byteCount: 8 * block)
        try fill(old, 1, capacity: 2 << 20)
        try fill(new, 2, capacity: 2 << 20)
        let cache = openCache(folder, capacity: 2 << 20)
        let slots = cache.status.slotCount
        #expect(cache.status.usedSlotCount == 4)
        let other = ModelArchive(byteCount: 4 * (slots - 2) * block)
        let source = cache.source(identity: identity(3), over: other)
        for start in stride(from: 0, to: other.bytes.count, by: 4 * block) {
            _ = try source.bytes(start..<start + 4 * block)
            cache.settle()
        }
        _ = try cache.source(identity: identity(2), over: new).bytes(0..<8 * block)
        #expect(cache.status.hitCount == 1)
        _ = try cache.source(identity: identity(1), over: old).bytes(0..<8 * block)
        #expect(cache.status.hitCount == 1)
        cache.close()
    }

    @Test func `a flipped bit is noticed, counted, fetched once and stored right`() throws {
        let model = ModelArchive(byteCount: 12 * block)
        try fill(model)
        try folder.garble(folder.data, at: UInt64(block + 1000)) { $0 ^ 1 }
        let cache = openCache(folder)
        let source = cache.source(identity: identity(1), over: model)
        let before = model.requestCount
        #expect(try source.bytes(0..<12 * block) == model.bytes)
        #expect(model.requests.withLock { $0[before...] } == [UInt64(block)..<UInt64(2 * block)])
        #expect(cache.status.badBlockCount == 1)
        cache.settle()
        #expect(try source.bytes(0..<12 * block) == model.bytes)
        #expect(model.requestCount == before + 1)
        #expect(cache.status.badBlockCount == 1)
        cache.close()
    }

    @Test func `an entry that changed hands by itself is not believed`() throws {
        let model = ModelArchive(byteCount: 12 * block)
        try fill(model)
        let cache = openCache(folder)
        // The entry of slot 0 in place of that of slot 1, under a running cache.
        let geometry = try #require(CacheGeometry(capacityByteCount: 16 << 20))
        let entry = UnsafeMutableRawBufferPointer.allocate(byteCount: geometry.entryByteCount, alignment: 8)
        defer { entry.deallocate() }
        let index = try OwnedFile(opening: folder.index, for: .readWrite)
        _ = try index.read(at: geometry.entryOffset(ofSlot: 0), into: entry)
        try index.write(UnsafeRawBufferPointer(entry), at: geometry.entryOffset(ofSlot: 1))
        let source = cache.source(identity: identity(1), over: model)
        #expect(try source.bytes(0..<12 * block) == model.bytes)
        #expect(cache.status.badBlockCount == 1)
        cache.close()
    }

    @Test func `bytes that the AEAD refuses are dropped, and only those of the cache are worth another try`() throws {
        let cache = openCache(folder)
        let model = ModelArchive(byteCount: 8 * block)
        let source = cache.source(identity: identity(1), over: model)
        // The backend gives a wrong byte once, and it is stored with a checksum that holds.
        model.garble(3 * block + 7)
        let range = UInt64(3 * block)..<UInt64(4 * block)
        #expect(try source.bytes(0..<8 * block) != model.bytes)
        cache.settle()
        model.garble(nil)
        #expect(try source.bytes(0..<8 * block) != model.bytes)
        #expect(source.discard(range, attempt: 0) != nil)
        #expect(cache.status.badBlockCount == 1)
        #expect(try source.bytes(0..<8 * block) == model.bytes)
        #expect(model.requestCount == 2)
        cache.settle()
        // What the backend itself gives wrong is not worth another try, and does not stay.
        model.garble(20)
        let other = cache.source(identity: identity(2), over: model)
        #expect(try other.bytes(0..<block) != Array(model.bytes[0..<block]))
        #expect(other.discard(0..<UInt64(block), attempt: 0) == nil)
        model.garble(nil)
        cache.settle()
        #expect(try other.bytes(0..<block) == Array(model.bytes[0..<block]))
        cache.close()
    }

    @Test func `dropped bytes do not come back, neither from the queue nor by a restart`() throws {
        let disk = FaultyDisk()
        let model = ModelArchive(byteCount: 4 * block)
        let range = UInt64(0)..<UInt64(block)
        let cache = openCache(folder, wrap: disk.wrap)
        let source = cache.source(identity: identity(1), over: model)
        // The writer stands still: the bad bytes are queued while they are dropped.
        disk.set { $0.hangs = true }
        model.garble(20)
        _ = try source.bytes(0..<2 * block)
        #expect(source.discard(range, attempt: 0) == nil)
        model.garble(nil)
        disk.set { $0.hangs = false }
        cache.settle()
        #expect(try source.bytes(0..<2 * block) == Array(model.bytes[0..<2 * block]))
        // Stored and served, dropped, then the process ends before anybody reads again.
        cache.settle()
        #expect(try source.bytes(0..<2 * block) == Array(model.bytes[0..<2 * block]))
        let before = model.requestCount
        #expect(source.discard(range, attempt: 0) != nil)
        cache.close()
        disk.letGo()
        let next = openCache(folder)
        _ = try next.source(identity: identity(1), over: model).bytes(0..<2 * block)
        #expect(model.requests.withLock { $0[before...] } == [range])
        next.close()
    }

    @Test func `a damaged part of a block is not made good by joining it with another part`() throws {
        let cache = openCache(folder)
        let model = ModelArchive(byteCount: 4 * block)
        let source = cache.source(identity: identity(1), over: model)
        _ = try source.bytes(0..<1000)
        cache.settle()
        try folder.garble(folder.data, at: 500) { ~$0 }
        _ = try source.bytes(1000..<2000)
        cache.settle()
        #expect(try source.bytes(0..<2000) == Array(model.bytes[0..<2000]))
        #expect(cache.status.badBlockCount == 1)
        cache.close()
    }

    @Test func `a tag holds for one block of one archive in one place`() throws {
        let first = CachedArchive(identity: identity(1), gridOrigin: 0)
        let bytes = (0..<100).map { UInt8($0) }
        let size = SlotEntry.byteCount(blocksPerSlot: 4)
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
        defer { page.deallocate() }
        bytes.withUnsafeBytes { bytes in
            var entry = SlotEntry(archive: first, segment: 3, stamp: 9, blocksPerSlot: 4)
            entry.set(1, valid: 7..<107, bytes)
            #expect(entry.isIntact(1, bytes))
            entry.blocks[2] = entry.blocks[1]
            #expect(!entry.isIntact(2, bytes))
            for (archive, segment, valid) in [
                (CachedArchive(identity: identity(2), gridOrigin: 0), UInt32(3), 7..<107),
                (CachedArchive(identity: identity(1), gridOrigin: 1), 3, 7..<107),
                (first, 4, 7..<107), (first, 3, 8..<108),
            ] {
                var other = SlotEntry(archive: archive, segment: segment, stamp: 9, blocksPerSlot: 4)
                other.blocks[1] = SlotEntry.Block(valid: valid, tag: entry.blocks[1].tag)
                #expect(!other.isIntact(1, bytes))
            }
            entry.serialize(into: page, slot: 5)
            let read = SlotEntry(parsing: UnsafeRawBufferPointer(page), slot: 5)
            #expect(read?.blocks == entry.blocks && read?.archive == first && read?.segment == 3 && read?.stamp == 9)
            #expect(SlotEntry(parsing: UnsafeRawBufferPointer(page), slot: 6) == nil)
            for index in 0..<size {
                page[index] ^= 4
                #expect(SlotEntry(parsing: UnsafeRawBufferPointer(page), slot: 5) == nil)
                page[index] ^= 4
            }
        }
    }

    @Test func `garbled and cut files give misses, never a wrong byte`() throws {
        var random = SeededGenerator()
        print("seed \(random.seed)")
        let model = ModelArchive(byteCount: 24 * block + 17)
        for round in 0..<25 {
            try fill(model, 1, capacity: 3 << 20)
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let file = Bool.random(using: &random) ? folder.data : folder.index
                let size = try FileFacts.of(file).byteCount
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    let bits = UInt8.random(in: 1...255, using: &random)
                    try folder.garble(file, at: .random(in: 0..<size, using: &random)) { $0 ^ bits }
                case 1:
                    let cut = UInt64.random(in: 0..<size, using: &random)
                    try OwnedFile(opening: file, for: .readWrite).truncate(to: cut)
                    try OwnedFile(opening: file, for: .readWrite).truncate(to: size)
                default:
                    try OwnedFile(opening: file, for: .readWrite).truncate(
                        to: .random(in: 0..<size, using: &random))
                }
                if try FileFacts.of(file).byteCount == 0 { break }
            }
            let cache = openCache(folder, capacity: 3 << 20)
            let source = cache.source(identity: identity(1), over: model)
            for start in stride(from: 0, to: model.bytes.count, by: 5 * block) {
                let range = start..<min(model.bytes.count, start + 5 * block)
                #expect(try source.bytes(range) == Array(model.bytes[range]), "seed \(random.seed) round \(round)")
            }
            cache.close()
        }
    }

    @Test func `copies taken of a working cache at any moment, as a kill leaves it, hold no wrong byte`() throws {
        var random = SeededGenerator()
        print("seed \(random.seed)")
        let models = (0..<2).map { _ in ModelArchive(byteCount: 40 * block) }
        let cache = openCache(folder, capacity: 3 << 20)
        let isDone = Monitor(false)
        let sources = models.indices.map { cache.source(identity: identity(UInt8($0)), over: models[$0]) }
        let writer = NativeThread(name: "inserts") {
            var position = 0
            while !isDone.withLockQuietly({ $0 }) {
                position = (position + 3) % 37
                for source in sources { _ = try? source.bytes(position * block..<(position + 3) * block) }
                // The processors are for the other side of this test as well.
                usleep(1000)
            }
        }
        defer {
            isDone.withLock { $0 = true }
            writer.join()
            cache.close()
        }
        for round in 0..<10 {
            usleep(.random(in: 0..<20_000, using: &random))
            let copy = TestFolder()
            for path in [copy.cache, copy.cache + "/v1"] { mkdir(path, 0o700) }
            // Either file may be the older one.
            let files = Bool.random(using: &random) ? ["data", "index"] : ["index", "data"]
            for name in files {
                let bytes = try readWholeFile(folder.cache + "/v1/" + name, maximumByteCount: 8 << 20)
                let file = try OwnedFile(opening: copy.cache + "/v1/" + name, for: .write, options: .create)
                try bytes.withUnsafeBytes { try file.write($0, at: 0) }
            }
            let second = openCache(copy, capacity: 3 << 20)
            for (number, model) in models.enumerated() {
                let source = second.source(identity: identity(UInt8(number)), over: model)
                for start in stride(from: 0, to: 40, by: 4) {
                    let range = start * block..<(start + 4) * block
                    #expect(try source.bytes(range) == Array(model.bytes[range]), "seed \(random.seed) round \(round)")
                }
            }
            second.close()
        }
    }

    @Test func `a cache of another format version or slot size is emptied`() throws {
        let model = ModelArchive(byteCount: 12 * block)
        try fill(model)
        try folder.garble(folder.index, at: 8) { _ in 2 }
        let cache = openCache(folder)
        #expect(cache.status.usedSlotCount == 0)
        #expect(folder.allocatedByteCount < 100_000)
        cache.close()
        try fill(model)
        let smaller = openCache(folder, capacity: 1 << 20)
        #expect(smaller.status.usedSlotCount == 3)
        #expect(folder.allocatedByteCount <= 1 << 20)
        smaller.close()
    }

    @Test func `foreign things in the place of the files are not followed`() throws {
        for path in [folder.cache, folder.cache + "/v1"] { mkdir(path, 0o700) }
        let victim = folder.path + "/victim"
        try [UInt8]("precious".utf8).withUnsafeBytes {
            try OwnedFile(opening: victim, for: .write, options: .create).write($0, at: 0)
        }
        symlink(victim, folder.data)
        let cache = openCache(folder)
        #expect(cache.status.state == .suspended("it cannot be opened: \(Errno.tooManySymbolicLinks)"))
        let model = ModelArchive(byteCount: block)
        #expect(try cache.source(identity: identity(1), over: model).bytes(0..<block) == model.bytes)
        #expect(try readWholeFile(victim, maximumByteCount: 100) == Array("precious".utf8))
        cache.close()
    }

    @Test func `folder and files are for their owner only`() throws {
        try fill(ModelArchive(byteCount: block))
        #expect(try FileFacts.of(folder.cache).permissions == 0o700)
        #expect(try FileFacts.of(folder.cache + "/v1").permissions == 0o700)
        for file in [folder.data, folder.index] { #expect(try FileFacts.of(file).permissions == 0o600) }
    }
}
