import BackupEngine
import BackupNames
import Catalog
import Foundation
import Glibc
import Logging
import SystemIO
import Testing

@testable import Snapshots

/// A pool in a temporary folder, with the image of acme/web/disk in it, and a catalog.
final class SnapshotBench {
    let folder: String
    let catalog: Catalog
    let pool: SnapshotPool
    let snapshots: Snapshots
    let disk: DiskName

    var poolPath: String { folder + "/pool" }
    var imagePath: String { poolPath + "/web.raw" }
    /// Of the disk's snapshots.
    var place: String { poolPath + "/.holdfast-snapshots/acme/web/disk" }

    init() throws {
        folder = "/tmp/holdfast-snapshots-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: folder + "/pool", withIntermediateDirectories: true)
        catalog = try Catalog(path: folder + "/catalog.sqlite")
        pool = SnapshotPool(name: try ResourceName("fast"), path: folder + "/pool")
        snapshots = Snapshots([pool], catalog: catalog, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        disk = DiskName(org: try ResourceName("acme"), vm: try ResourceName("web"), disk: try ResourceName("disk"))
        try write(1)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// An image of 3 MiB and 5 bytes: `value`, a hole, and `value` again at the end.
    static func image(_ value: UInt8) -> [UInt8] {
        [UInt8](repeating: value, count: 1_000_000) + [UInt8](repeating: 0, count: 2_000_000)
            + [UInt8](repeating: value, count: (3 << 20) + 5 - 3_000_000)
    }

    func write(_ value: UInt8) throws { try Data(Self.image(value)).write(to: URL(fileURLWithPath: imagePath)) }

    func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

    func image() throws -> PooledImage { try snapshots.image(of: disk, source: imagePath) }

    @discardableResult
    func create() throws -> SnapshotRecord {
        try snapshots.create(image()) { [imagePath] in
            (try ImageFile.open(imagePath, consistency: "none", consistentAt: 1_800_000_000), {})
        }
    }

    /// What is in a folder, without the lock.
    func names(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).filter { $0 != "lock" }.sorted()
    }

    func code(_ body: () throws -> Void) -> EngineError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? EngineError)?.code
        }
    }
}

/// A source that fails where it is told to.
struct FailingSource: ImageSource {
    let name = "failing"
    let byteCount: UInt64? = 8 << 20
    let consistency = "none"
    let consistentAt: Int64? = nil
    let failsAt: UInt64

    func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        var offset: UInt64 = 0
        while offset < failsAt {
            let buffer = try sink.takeFrameBuffer()
            try sink.submit(buffer, count: sink.frameByteCount)
            offset += UInt64(sink.frameByteCount)
        }
        throw EngineError(.source, "\"failing\" cannot be read at \(failsAt): \(Errno.inputOutput)")
    }
}
