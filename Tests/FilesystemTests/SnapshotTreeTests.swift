import BackupEngine
import BackupNames
import Catalog
import Foundation
import Glibc
import Snapshots
import Testing

@testable import Filesystem

@Suite("snapshots/ in the tree", .timeLimit(.minutes(1)))
struct SnapshotTreeTests {
    private let bench: TreeBench
    private let filesystem: BackupFilesystem
    private let snapshots: Snapshots
    private let pool: String
    private let disk: DiskName
    /// A MiB of data, a hole of two, and a byte.
    private static let image =
        [UInt8](repeating: 5, count: 1 << 20) + [UInt8](repeating: 0, count: 2 << 20) + [9]

    init() throws {
        bench = try TreeBench(orgs: [
            ResourceName("acme"): OrgSettings(access: OrgAccess(userID: 1001, groupID: 1002, folderMode: 0o750))
        ])
        pool = "/tmp/holdfast-pool-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: pool, withIntermediateDirectories: true)
        try Data(Self.image).write(to: URL(fileURLWithPath: pool + "/web.raw"))
        snapshots = Snapshots(
            [SnapshotPool(name: try ResourceName("fast"), path: pool)], catalog: bench.engine.catalog,
            log: bench.engine.log)
        filesystem = BackupFilesystem(engine: bench.engine, snapshots: snapshots)
        disk = DiskName(org: try ResourceName("acme"), vm: try ResourceName("web"), disk: try ResourceName("disk"))
    }

    private func create() throws -> SnapshotRecord {
        let path = pool + "/web.raw"
        return try snapshots.create(snapshots.image(of: disk, source: path)) {
            (try ImageFile.open(path, consistentAt: 1_800_000_000), {})
        }
    }

    private func number(_ path: String) throws -> UInt64 {
        try path.split(separator: "/").reduce(TreeBench.root) { try filesystem.lookUp(String($1), in: $0).number }
    }

    private func names(_ path: String) throws -> [String] { try filesystem.list(number(path)).map(\.name) }

    private func open(_ path: String) throws -> UInt64 {
        try filesystem.open(number(path), OpenIntent(forWriting: false, truncates: false))
    }

    private func code(_ body: () throws -> Void) -> FileSystemError.Code? { bench.code(body) }

    @Test func `the folder is there where pools are, and only there`() throws {
        defer { try? FileManager.default.removeItem(atPath: pool) }
        #expect(try bench.filesystem.list(TreeBench.root).allSatisfy { $0.name != "snapshots" })
        #expect(code { _ = try bench.number("snapshots") } == .notFound)
        #expect(try filesystem.list(TreeBench.root).contains { $0.name == "snapshots" })
        #expect(try names("snapshots") == ["fast"] && names("snapshots/fast").isEmpty)
    }

    @Test func `a snapshot appears as it is made, reads as the file does, and is gone when it is removed`() throws {
        defer { try? FileManager.default.removeItem(atPath: pool) }
        _ = try names("snapshots/fast")
        let record = try create()
        let folder = "snapshots/fast/acme/web/\(record.identifier.date)"
        #expect(try names("snapshots/fast/acme/web") == ["\(record.identifier.date)"])
        #expect(try names(folder) == ["disk.raw"])
        let path = folder + "/disk.raw"
        let attributes = try filesystem.attributes(number(path))
        #expect(attributes.byteCount == UInt64(Self.image.count) && attributes.dataByteCount < 2 << 20)
        #expect(attributes.modified == 1_800_000_000)
        let handle = try open(path)
        var bytes: [UInt8] = []
        while bytes.count < Self.image.count {
            let slices = try filesystem.readWaiting(handle, at: UInt64(bytes.count), count: 700_001)
            for slice in slices { bytes += slice.bytes }
        }
        #expect(bytes == Self.image)
        #expect(try filesystem.readWaiting(handle, at: UInt64(Self.image.count), count: 10).isEmpty)
        #expect(try filesystem.seek(handle, .hole, from: 0) == 1 << 20)
        #expect(try filesystem.seek(handle, .data, from: 1 << 20) == 3 << 20)
        #expect(code { _ = try filesystem.seek(handle, .data, from: UInt64(Self.image.count)) } == .noSuchOffset)
        let known = try number(path)
        try snapshots.delete(record.identifier)
        // Who has it open reads on; for everybody else it is gone.
        let last = try filesystem.readWaiting(handle, at: 3 << 20, count: 10)
        #expect(last.flatMap { Array($0.bytes) } == [9])
        filesystem.release(handle)
        #expect(code { _ = try filesystem.attributes(known) } == .notFound)
        #expect(code { _ = try number(path) } == .notFound)
        #expect(try names("snapshots/fast").isEmpty)
    }

    @Test func `owner and mode are the org's, nothing can be written, and it says what it is`() throws {
        defer { try? FileManager.default.removeItem(atPath: pool) }
        let record = try create()
        let folder = "snapshots/fast/acme/web/\(record.identifier.date)"
        for path in ["snapshots/fast/acme", "snapshots/fast/acme/web", folder] {
            let attributes = try filesystem.attributes(number(path))
            #expect(
                attributes.userID == 1001 && attributes.groupID == 1002 && attributes.permissions == 0o550, "\(path)")
        }
        let image = try number(folder + "/disk.raw")
        let attributes = try filesystem.attributes(image)
        #expect(attributes.userID == 1001 && attributes.permissions == 0o440)
        for path in ["snapshots", "snapshots/fast"] {
            #expect(try filesystem.attributes(number(path)).userID == nil, "\(path)")
        }
        #expect(
            code { _ = try filesystem.open(image, OpenIntent(forWriting: true, truncates: false)) } == .readOnly)
        #expect(code { _ = try filesystem.makeDirectory("x", in: number("snapshots/fast/acme")) } == .readOnly)
        #expect(code { try filesystem.removeFile("disk.raw", in: number(folder)) } == .readOnly)
        let facts = Dictionary(
            uniqueKeysWithValues: try filesystem.extendedAttributes(image).map { ($0.name, $0.value) })
        #expect(facts["user.holdfast.kind"] == "in-cluster copy, not a backup")
        #expect(facts["user.holdfast.raw_sha256"] == record.hashText)
    }

    @Test func `status.json lists snapshots apart, and no figure of a backup counts one`() throws {
        defer { try? FileManager.default.removeItem(atPath: pool) }
        _ = try create()
        _ = try create()
        let handle = try open("status.json")
        let bytes = try filesystem.readWaiting(handle, at: 0, count: 1 << 20).flatMap { Array($0.bytes) }
        let json = try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        let listed = try #require((json["snapshots"] as? [[String: Any]])?.first)
        #expect(listed["kind"] as? String == "in-cluster copy, not a backup" && listed["snapshots"] as? Int == 2)
        #expect((json["resources"] as? [Any])?.isEmpty == true)
        #expect(json["orgs_without_backup"] as? [String] == ["acme"])
        #expect(try bench.engine.resources().isEmpty)
    }

    @Test func `a file that was cut off is an error, and no end of file`() throws {
        defer { try? FileManager.default.removeItem(atPath: pool) }
        let record = try create()
        let path = "snapshots/fast/acme/web/\(record.identifier.date)/disk.raw"
        let handle = try open(path)
        truncate(pool + "/.holdfast-snapshots/acme/web/disk/\(record.identifier.date).raw", 100)
        #expect(code { _ = try filesystem.readWaiting(handle, at: 0, count: 4096) } == .inputOutput)
        #expect(throws: EngineError.self) { _ = try open(path) }
        filesystem.release(handle)
    }
}
