import BackupEngine
import BackupNames
import Catalog
import Foundation
import Glibc
import SystemIO
import Testing

@testable import Snapshots

@Suite("Snapshots", .timeLimit(.minutes(2)))
struct SnapshotTests {
    private let bench: SnapshotBench

    init() throws { bench = try SnapshotBench() }

    @Test func `a snapshot is a file of its own with the image's bytes, holes and hash, and its owner's alone`() throws
    {
        let record = try bench.create()
        #expect("\(record.identifier)" == "fast:acme/web/2027-01-15T08-00-00Z/disk")
        #expect(record.rawByteCount == UInt64(SnapshotBench.image(1).count) && record.origin == bench.imagePath)
        #expect(record.dataByteCount < 2 << 20, "zeros are holes: \(record.dataByteCount)")
        let path = bench.place + "/\(record.identifier.date).raw"
        #expect(try bench.bytes(path) == SnapshotBench.image(1))
        #expect(try bench.snapshots.all() == [record])
        try bench.snapshots.verify(record)
        // The original goes on without it, and it without the original.
        try bench.write(2)
        try bench.snapshots.verify(record)
        #expect(try FileFacts.of(path).permissions == 0o600)
        #expect(try FileFacts.of(bench.poolPath + "/.holdfast-snapshots").permissions == 0o700)
        #expect(try bench.names(bench.place).count == 2)
    }

    @Test(arguments: [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, (2 << 20) - 1, 5 << 20])
    func `images of every length around blocks and frames are copied to the byte`(count: Int) throws {
        var generator = SystemRandomNumberGenerator()
        var image = [UInt8](repeating: 0, count: count)
        // Some blocks are data, some zeros, some nearly.
        for start in stride(from: 0, to: count, by: 4096) where generator.next() % 3 == 0 {
            image[min(count - 1, start + Int(generator.next() % 4096))] = 7
        }
        try Data(image).write(to: URL(fileURLWithPath: bench.imagePath))
        if count == 0 {
            #expect(bench.code { try bench.create() } == .emptyImage)
            #expect(try bench.names(bench.place).isEmpty)
            return
        }
        let record = try bench.create()
        #expect(try bench.bytes(bench.place + "/\(record.identifier.date).raw") == image)
        try bench.snapshots.verify(record)
    }

    @Test func `two of one second get different dates`() throws {
        let dates = try (0..<3).map { _ in try bench.create().identifier.date.secondsSince1970 }
        #expect(dates == [1_800_000_000, 1_800_000_001, 1_800_000_002])
        let pattern = try SnapshotDiskPattern("acme/web")
        #expect(try bench.snapshots.find(pattern, .latest).identifier.date.secondsSince1970 == 1_800_000_002)
        #expect(bench.code { _ = try bench.snapshots.find(SnapshotDiskPattern("acme/db"), .latest) } == .notFound)
        #expect(bench.code { _ = try bench.snapshots.find(SnapshotDiskPattern("slow:acme/web"), .latest) } == .notFound)
    }

    @Test(arguments: [0, 1 << 20, 5 << 20] as [UInt64])
    func `a source that fails at an offset is named with it, and nothing is registered or left`(offset: UInt64) throws {
        let image = try bench.image()
        let released = Released()
        #expect {
            _ = try bench.snapshots.create(image) { (FailingSource(failsAt: offset), { released.count += 1 }) }
        } throws: {
            ($0 as? EngineError)?.code == .source && "\($0)".contains("at \(offset)")
        }
        #expect(released.count == 1)
        #expect(try bench.snapshots.all().isEmpty && bench.names(bench.place).isEmpty)
    }

    private final class Released { var count = 0 }

    @Test func `a source that shrinks is named with where it ends, and nothing is registered`() throws {
        let path = bench.imagePath
        #expect {
            let image = try bench.image()
            _ = try bench.snapshots.create(
                image, progress: { done, _ in if done == 1 << 20 { truncate(path, 1 << 20) } }
            ) {
                (try ImageFile.open(path), {})
            }
        } throws: {
            ($0 as? EngineError)?.code == .source && "\($0)".contains("\(1 << 20)")
        }
        #expect(try bench.snapshots.all().isEmpty && bench.names(bench.place).isEmpty)
    }

    @Test func `one disk has one at work, who is told from the others`() throws {
        let image = try bench.image()
        var inner: EngineError.Code?
        _ = try bench.snapshots.create(image) {
            inner = bench.code { try bench.create() }
            // Nor does a look at what was left touch it.
            try Data([1]).write(to: URL(fileURLWithPath: bench.place + "/2000-01-01T00-00-00Z.doomed"))
            bench.snapshots.cleanUpAfterCrash()
            #expect(try bench.names(bench.place).count == 1)
            return (try ImageFile.open(bench.imagePath), {})
        }
        #expect(inner == .busy)
        bench.snapshots.cleanUpAfterCrash()
        #expect(try bench.names(bench.place).count == 2)
    }

    @Test func `one that is damaged, longer or shorter is found out`() throws {
        let record = try bench.create()
        let path = bench.place + "/\(record.identifier.date).raw"
        let good = try bench.bytes(path)
        var flipped = good
        flipped[good.count / 2] ^= 1
        for bad in [flipped, Array(good.dropLast()), good + [0]] {
            try Data(bad).write(to: URL(fileURLWithPath: path))
            #expect(bench.code { try bench.snapshots.verify(record) } == .damaged)
            #expect(bench.code { try bench.snapshots.clone(record, to: bench.poolPath + "/new.raw") } == .damaged)
            #expect(bench.code { try bench.snapshots.rollBack(record, image: bench.image()) } == .damaged)
        }
        #expect(try bench.bytes(bench.imagePath) == SnapshotBench.image(1))
        #expect(try bench.names(bench.poolPath) == [".holdfast-snapshots", "web.raw"])
        #expect(try bench.names(bench.place).count == 2)
    }

    @Test func `a clone is a new disk in the pool, and replaces nothing`() throws {
        let record = try bench.create()
        try bench.write(2)
        let path = bench.poolPath + "/new.raw"
        try bench.snapshots.clone(record, to: path)
        #expect(try bench.bytes(path) == SnapshotBench.image(1) && FileFacts.of(path).permissions == 0o600)
        #expect(bench.code { try bench.snapshots.clone(record, to: path) } == .alreadyExists)
        symlink("/nowhere", bench.poolPath + "/dangling.raw")
        symlink(bench.folder, bench.poolPath + "/out")
        #expect(
            bench.code { try bench.snapshots.clone(record, to: bench.poolPath + "/dangling.raw") } == .alreadyExists)
        for outside in [
            bench.folder + "/new.raw", bench.poolPath + "/../new.raw", bench.poolPath + "/out/new.raw",
            bench.place + "/new.raw", bench.poolPath + "/..", bench.poolPath + "/", "",
        ] {
            #expect(bench.code { try bench.snapshots.clone(record, to: outside) } != nil, "\(outside)")
        }
        #expect(!FileManager.default.fileExists(atPath: bench.folder + "/new.raw"))
    }

    @Test func `what is wrong with a pool or a disk is said before any work`() throws {
        func failure(_ pool: SnapshotPool, _ source: String) -> EngineError? {
            let snapshots = Snapshots([pool], catalog: bench.catalog, log: bench.snapshots.log)
            do throws(EngineError) {
                _ = try snapshots.image(of: bench.disk, source: source)
                return nil
            } catch {
                return error
            }
        }
        let name = try ResourceName("fast")
        let wrong = failure(SnapshotPool(name: name, path: bench.poolPath, fileSystem: "zfs"), bench.imagePath)
        #expect(wrong?.code == .source && wrong?.detail.contains("not on zfs") == true)
        let missing = failure(SnapshotPool(name: name, path: bench.folder + "/gone"), bench.folder + "/gone/x.raw")
        #expect(missing?.code == .source && missing?.detail.contains("pool \"fast\"") == true)
        let outside = failure(SnapshotPool(name: name, path: bench.poolPath + "/.."), "/etc/hostname")
        #expect(outside?.code == .notFound && outside?.hint?.contains("fast (") == true)
        #expect(failure(bench.pool, bench.imagePath + "x")?.code == .source)
        mkfifo(bench.poolPath + "/pipe", 0o600)
        for path in [bench.poolPath + "/pipe", bench.poolPath] {
            #expect(failure(bench.pool, path)?.detail.contains("no regular file") == true, "\(path)")
        }
        symlink("/etc/hostname", bench.poolPath + "/link.raw")
        #expect(failure(bench.pool, bench.poolPath + "/link.raw")?.code == .notFound)
        // Snapshots are no images of disks.
        let record = try bench.create()
        #expect(failure(bench.pool, bench.place + "/\(record.identifier.date).raw")?.code == .notFound)
        let none = Snapshots([], catalog: bench.catalog, log: bench.snapshots.log)
        #expect(bench.code { _ = try none.image(of: bench.disk, source: bench.imagePath) } == .notFound)
    }

    @Test func `without the room for a full copy nothing is begun`() throws {
        let image = PooledImage(
            disk: bench.disk, pool: bench.pool, path: bench.imagePath, byteCount: 1 << 60, allocatedByteCount: 1 << 59)
        var isOpened = false
        let code = bench.code {
            _ = try bench.snapshots.create(image) {
                isOpened = true
                return (try ImageFile.open(bench.imagePath), {})
            }
        }
        #expect(code == .noRoom && !isOpened)
    }

    @Test func `a folder of snapshots that others could write to, or a link in its place, is not used`() throws {
        let record = try bench.create()
        let root = bench.poolPath + "/.holdfast-snapshots"
        chmod(root, 0o770)
        #expect(bench.code { try bench.create() } == .source)
        #expect(bench.code { _ = try bench.snapshots.open(record) } == .source)
        chmod(root, 0o700)
        _ = try bench.snapshots.open(record)
        rename(root, root + "-moved")
        symlink(root + "-moved", root)
        #expect(bench.code { try bench.create() } == .source)
        #expect(bench.code { _ = try bench.snapshots.open(record) } == .source)
    }
}
