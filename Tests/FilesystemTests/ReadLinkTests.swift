import Archive
import BackupEngine
import BackupNames
import Catalog
import Foundation
import SeekableZstd
import Storage
import StorageTesting
import Synchronization
import Testing
import Workers

@testable import Filesystem

@Suite("Reading over a link", .serialized, .timeLimit(.minutes(2)))
struct ReadLinkTests {
    /// Bytes that shrink to about a half.
    static func image(mebibytes: Int, seed: UInt64 = 7) -> [UInt8] {
        var state = seed | 1
        return [UInt8](unsafeUninitializedCapacity: mebibytes << 20) { buffer, count in
            for index in 0..<mebibytes << 20 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                // Sixteen values a byte: four bits of eight.
                buffer[index] = UInt8(truncatingIfNeeded: state >> 32) & 15
            }
            count = mebibytes << 20
        }
    }

    /// 20 ms and 20 MB/s hold 400 KB; frames of 256 KiB shrink to half of that.
    private func makeBench() throws -> (TreeBench, LinkedStore) {
        var linked: LinkedStore?
        let bench = try TreeBench(frameByteCount: 256 << 10, fetchThreadCount: 24) { store in
            let made = LinkedStore(store, roundTrip: .milliseconds(20), bytesPerSecond: 20e6)
            linked = made
            return made
        }
        return (bench, try #require(linked))
    }

    @Test func `a sequential reader keeps nine tenths of the link busy, with few requests`() throws {
        let (bench, store) = try makeBench()
        let image = Self.image(mebibytes: 48)
        let handle = try bench.openBackup(of: image)
        store.forgetRequests()
        var offset = 0
        while offset < image.count {
            let slices = try bench.filesystem.readWaiting(handle, at: UInt64(offset), count: 1 << 20)
            var position = offset
            for slice in slices {
                let isSame = image.withUnsafeBytes {
                    memcmp($0.baseAddress! + position, slice.bytes.baseAddress!, slice.bytes.count) == 0
                }
                #expect(isSame, "at \(position)")
                position += slice.bytes.count
            }
            #expect(position == min(image.count, offset + (1 << 20)))
            offset = position
        }
        let requests = store.requests
        let archiveByteCount = requests.reduce(0) { $0 + $1.range.count }
        print(
            "utilisation \(store.utilisation), \(requests.count) requests, \(archiveByteCount >> 10) KiB of the archive"
        )
        #expect(store.utilisation >= 0.9)
        // Neighbours share a chunk of 64 KiB at most; so little is fetched twice.
        #expect(archiveByteCount < image.count * 6 / 10 + requests.count * 2 * 65_552)
        #expect(requests.count * (256 << 10) <= archiveByteCount, "\(requests.count) requests")
        bench.filesystem.release(handle)
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment["HOLDFAST_LINK_BENCH"] != nil, "a measurement"))
    func `50 ms and 1 Gbit per second are kept busy within the default memory budget`() throws {
        var linked: LinkedStore?
        let bench = try TreeBench(frameByteCount: 1 << 20, fetchThreadCount: 24, budgetByteCount: 256 << 20) { store in
            let made = LinkedStore(store, roundTrip: .milliseconds(50), bytesPerSecond: 125e6)
            linked = made
            return made
        }
        let store = try #require(linked)
        let image = Self.image(mebibytes: 512)
        let handle = try bench.openBackup(of: image)
        store.forgetRequests()
        // The first quarter is the start: the window grows, and the link is measured.
        for offset in stride(from: 0, to: image.count, by: 1 << 20) {
            if offset == image.count / 4 {
                print("utilisation of the start \(store.utilisation)")
                store.forgetRequests()
            }
            _ = try bench.filesystem.readWaiting(handle, at: UInt64(offset), count: 1 << 20)
        }
        let bytes = store.requests.reduce(0) { $0 + $1.range.count }
        print("utilisation \(store.utilisation), \(store.requests.count) requests of \(bytes >> 20) MiB")
        #expect(store.utilisation >= 0.9)
        bench.filesystem.release(handle)
    }

    @Test func `random reads make one request each, of exactly the chunks of their frame`() throws {
        let (bench, store) = try makeBench()
        let image = Self.image(mebibytes: 16)
        let handle = try bench.openBackup(of: image)
        guard case .disk(let view) = try bench.filesystem.handles.content(handle) else { return }
        var random = SeededGenerator(seed: 3)
        var frames = Set<Int>()
        for _ in 0..<20 {
            let offset = Int.random(in: 0..<image.count >> 12, using: &random) << 12
            let frame = view.disk.content.frame(containing: UInt64(offset))
            guard frames.insert(frame).inserted else { continue }
            store.forgetRequests()
            let slices = try bench.filesystem.readWaiting(handle, at: UInt64(offset), count: 4096)
            #expect(slices.flatMap { Array($0.bytes) } == Array(image[offset..<offset + 4096]))
            let layout = try view.disk.backup.reader.layout
            #expect(store.requests.map(\.range) == [layout.run(ofFrames: frame..<frame + 1).archiveRange])
        }
        bench.filesystem.release(handle)
    }

    @Test func `an archive that is copied keeps the link busy as well; a random read of it takes one request`() throws {
        let (bench, store) = try makeBench()
        let image = try bench.openBackup(of: Self.image(mebibytes: 48))
        guard case .disk(let view) = try bench.filesystem.handles.content(image) else { return }
        let source = view.disk.backup.source
        var archive = [UInt8](repeating: 0, count: Int(source.byteCount))
        try archive.withUnsafeMutableBytes { try source.read(at: 0, into: $0) }
        let number = try bench.number(view.disk.backup.identifier.pathInTree + ".zst.age")
        let handle = try bench.filesystem.open(number, OpenIntent(forWriting: false, truncates: false))
        store.forgetRequests()
        let middle = archive.count / 2
        let random = try bench.filesystem.readWaiting(handle, at: UInt64(middle), count: 5000)
        #expect(random.flatMap { Array($0.bytes) } == Array(archive[middle..<middle + 5000]))
        #expect(store.requests.count == 1)
        store.forgetRequests()
        var offset = 0
        while offset < archive.count {
            let slices = try bench.filesystem.readWaiting(handle, at: UInt64(offset), count: 128 << 10)
            for slice in slices {
                let isSame = archive.withUnsafeBytes {
                    memcmp($0.baseAddress! + offset, slice.bytes.baseAddress!, slice.bytes.count) == 0
                }
                #expect(isSame, "at \(offset)")
                offset += slice.bytes.count
            }
        }
        let byteCount = store.requests.reduce(0) { $0 + $1.range.count }
        print(
            "utilisation \(store.utilisation), \(store.requests.count) requests for an archive of \(archive.count >> 20) MiB"
        )
        #expect(store.utilisation >= 0.9)
        #expect(byteCount <= archive.count)
        bench.filesystem.release(handle)
        bench.filesystem.release(image)
    }

    @Test func `a read over several absent frames is one request`() throws {
        let (bench, store) = try makeBench()
        let image = Self.image(mebibytes: 4)
        let handle = try bench.openBackup(of: image)
        store.forgetRequests()
        let slices = try bench.filesystem.readWaiting(handle, at: 300_000, count: 1 << 20)
        #expect(slices.flatMap { Array($0.bytes) } == Array(image[300_000..<300_000 + (1 << 20)]))
        #expect(store.requests.count == 1)
        bench.filesystem.release(handle)
    }
}

@Suite("Opening a disk", .timeLimit(.minutes(1)))
struct OpenDiskTests {
    @Test func `of many who open a disk at once all share one`() throws {
        let tree = try TreeBench { $0 }
        tree.filesystem.release(try tree.openBackup(of: ReadLinkTests.image(mebibytes: 2)))
        let newest = try #require(try tree.filesystem.engine.catalog.allBackups().first).identifier
        for _ in 0..<20 {
            // Anew each time: the disk of before is held by its table only.
            let filesystem = BackupFilesystem(engine: tree.filesystem.engine)
            let serials = Mutex<Set<UInt64>>([])
            let openers = (0..<8).map { _ in
                NativeThread(name: "opener") {
                    if let disk = try? filesystem.disk(newest) { serials.withLock { _ = $0.insert(disk.serial) } }
                }
            }
            for opener in openers { opener.join() }
            #expect(serials.withLock { $0.count } == 1)
            filesystem.close()
        }
    }
}

@Suite("Reading while a backend hangs", .serialized, .timeLimit(.minutes(2)))
struct HangingReadTests {
    private final class Bench {
        let tree: TreeBench
        let store: HangingStore
        let image = ReadLinkTests.image(mebibytes: 20)
        let handle: UInt64

        init() throws {
            var hanging: HangingStore?
            tree = try TreeBench { store in
                let made = HangingStore(store)
                hanging = made
                return made
            }
            store = try #require(hanging)
            handle = try tree.openBackup(of: image)
        }

        // The engine's threads end only when nothing hangs any more.
        deinit { store.release() }

        func start(at offset: Int, count: Int = 4096, of other: UInt64? = nil) throws -> PendingRead {
            let start = try tree.filesystem.read(other ?? handle, at: UInt64(offset), count: count)
            guard case .pending(let read) = start else {
                throw FileSystemError(.invalid, "the read at \(offset) was answered at once")
            }
            return read
        }
    }

    private func code(_ outcome: PendingRead.Outcome?) -> FileSystemError.Code? {
        if case .failure(let error)? = outcome { return (error as? FileSystemError)?.code }
        return nil
    }

    private func outcome(of read: PendingRead) -> Monitor<PendingRead.Outcome?> {
        let outcome = Monitor<PendingRead.Outcome?>(nil)
        read.whenDone { result in
            outcome.withLock { outcome in
                #expect(outcome == nil, "answered twice")
                outcome = result
            }
        }
        return outcome
    }

    @Test func `two hundred blocked reads leave names, cached reads and other backends fast; the end answers them all`()
        throws
    {
        let bench = try Bench()
        let other = try bench.tree.openBackup(of: bench.image, on: "other")
        _ = try bench.tree.filesystem.readWaiting(bench.handle, at: 0, count: 4096)
        bench.store.hang()
        // Random places, and sequential ones that ask for read-ahead.
        var outcomes: [Monitor<PendingRead.Outcome?>] = []
        for index in 0..<200 {
            let offset = index < 150 ? (index + 1) * 70_000 : (12 << 20) + (index - 150) * 131_072
            outcomes.append(outcome(of: try bench.start(at: offset, count: index < 150 ? 4096 : 131_072)))
        }
        let start = ContinuousClock.now
        #expect(try bench.tree.filesystem.list(TreeBench.root).count == 5)
        #expect(try bench.tree.filesystem.attributes(bench.tree.number(bench.tree.latest + "/disk.raw")).byteCount > 0)
        guard case .ready = try bench.tree.filesystem.read(bench.handle, at: 8192, count: 4096) else {
            Issue.record("a cached read waits")
            return
        }
        for offset in stride(from: 0, to: bench.image.count - (1 << 20), by: 1 << 20) {
            let slices = try bench.tree.filesystem.readWaiting(other, at: UInt64(offset), count: 65_536)
            #expect(slices.flatMap { Array($0.bytes) } == Array(bench.image[offset..<offset + 65_536]))
        }
        #expect(ContinuousClock.now - start < .seconds(2))
        #expect(outcomes.allSatisfy { $0.withLockQuietly { $0 == nil } })
        #expect(bench.store.hangingCount <= 4)
        let end = ContinuousClock.now
        bench.tree.filesystem.close()
        #expect(outcomes.allSatisfy { code($0.withLockQuietly { $0 }) == .inputOutput })
        #expect(ContinuousClock.now - end < .seconds(1))
        // A read that comes now is not even tried.
        let late = try bench.start(at: 5 << 20)
        #expect(code(outcome(of: late).withLockQuietly { $0 }) == .inputOutput)
    }

    @Test func `an interrupt answers at once, and a request that is not sent yet is dropped`() throws {
        let bench = try Bench()
        bench.store.hang()
        let reads = try (0..<8).map { try bench.start(at: $0 * 1_000_000) }
        let outcomes = reads.map(outcome)
        while bench.store.hangingCount < 4 { usleep(1000) }
        for read in reads { read.interrupt() }
        #expect(outcomes.allSatisfy { code($0.withLockQuietly { $0 }) == .interrupted })
        #expect(bench.tree.filesystem.readPath.pending.count == 0)
        let sent = bench.store.readCount
        bench.store.release()
        while bench.store.hangingCount > 0 { usleep(1000) }
        // What was queued behind those that hung is dropped; a fresh read shows that its turn has come.
        _ = try bench.tree.filesystem.readWaiting(bench.handle, at: 15 << 20, count: 4096)
        // The place is read well as soon as the store answers again.
        let slices = try bench.tree.filesystem.readWaiting(bench.handle, at: 0, count: 4096)
        #expect(slices.flatMap { Array($0.bytes) } == Array(bench.image[0..<4096]))
        #expect(bench.store.readCount == sent + 2)
    }

    @Test func `an interrupt before anybody listens is kept`() throws {
        let bench = try Bench()
        bench.store.hang()
        let read = try bench.start(at: 0)
        read.interrupt()
        #expect(code(outcome(of: read).withLockQuietly { $0 }) == .interrupted)
    }

    @Test func `when the store gives up, all who wait for the frame get its error, and later reads succeed`() throws {
        let bench = try Bench()
        bench.store.hang()
        let outcomes = try (0..<5).map { outcome(of: try bench.start(at: $0 * 4096)) }
        while bench.store.hangingCount == 0 { usleep(1000) }
        bench.store.release()
        for each in outcomes { #expect(code(each.wait { $0 }) == .timedOut) }
        #expect(bench.store.hangingCount == 0)
        #expect(try bench.tree.filesystem.readWaiting(bench.handle, at: 0, count: 4096).count == 1)
    }

    @Test func `reads of an archive wait without a thread too`() throws {
        let bench = try Bench()
        let number = try bench.tree.number(bench.tree.latest + "/disk.raw.zst.age")
        let handle = try bench.tree.filesystem.open(number, OpenIntent(forWriting: false, truncates: false))
        bench.store.hang()
        let outcomes = try (0..<50).map { outcome(of: try bench.start(at: $0 * 1000, of: handle)) }
        while bench.store.hangingCount == 0 { usleep(1000) }
        bench.store.release()
        for each in outcomes { #expect(code(each.wait { $0 }) == .timedOut) }
        #expect(try bench.tree.filesystem.readWaiting(handle, at: 0, count: 4096).first?.bytes.count == 4096)
    }

    @Test func `reads that nothing comes for end after a while`() throws {
        let bench = try Bench()
        let path = ReadPath(
            engine: bench.tree.engine, pending: PendingReads(patience: .milliseconds(100), tickMilliseconds: 20))
        defer { path.close() }
        bench.store.hang()
        let identifier = try #require(try bench.tree.engine.catalog.allBackups().first).identifier
        let disk = try OpenDisk(of: try bench.tree.engine.open(identifier), serial: 77, readPath: path)
        let view = DiskView(disk: disk, range: 0..<disk.byteCount)
        guard case .pending(let read) = view.read(at: 0, count: 4096) else {
            Issue.record("answered at once")
            return
        }
        #expect(code(outcome(of: read).wait { $0 }) == .timedOut)
        bench.store.release()
    }

    @Test func `a frame that is not authentic is EBADMSG, and is asked for again by the next read`() throws {
        let bench = try Bench()
        bench.store.damage(reads: 1)
        let code = bench.tree.code { _ = try bench.tree.filesystem.readWaiting(bench.handle, at: 0, count: 4096) }
        #expect(code == .notAuthentic)
        #expect(try bench.tree.filesystem.readWaiting(bench.handle, at: 0, count: 4096).count == 1)
    }
}
