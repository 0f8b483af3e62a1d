package import BackupEngine
package import BackupNames
package import Catalog
internal import CryptoPrimitives
internal import Glibc
package import Logging
internal import SystemIO

/// Snapshots of disks: full, standalone raw images in the pool of the disk's image. In-cluster copies, not backups.
///
/// | state of one that is made | in its folder | catalog | its process ends here: the next start |
/// |---|---|---|---|
/// | copying | `copy`, part of it | no row | removes the copy |
/// | copied: hashed and synced | `copy`, `<date>.json` | no row | removes both |
/// | named | `<date>.raw`, `<date>.json` | no row | registers it |
/// | registered | the same | its row | |
///
/// | state of one that is removed | in its folder | catalog | its process ends here: the next start |
/// |---|---|---|---|
/// | standing | `<date>.raw`, `<date>.json` | its row | |
/// | doomed | `<date>.doomed`, `<date>.json` | its row | goes on |
/// | forgotten | the same | no row | goes on |
/// | gone | nothing | no row | |
///
/// Any thread may call anything, each call blocks. Of one disk one thing happens at a time, whoever does it (`SnapshotFolder`).
package final class Snapshots: Sendable {
    package let pools: [SnapshotPool]
    package let catalog: Catalog
    let clock: any WallClock
    package let log: Logger

    package init(
        _ pools: [SnapshotPool], catalog: Catalog, clock: any WallClock = SystemClock(), log: Logger
    ) {
        self.pools = pools.sorted { $0.name < $1.name }
        self.catalog = catalog
        self.clock = clock
        self.log = log
    }

    package func pool(_ name: ResourceName) throws(EngineError) -> SnapshotPool {
        guard let pool = pools.first(where: { $0.name == name }) else {
            throw EngineError(.notFound, "no pool is named \"\(name)\"", hint: poolHint)
        }
        return pool
    }

    private var poolHint: String {
        pools.isEmpty
            ? "[pools.NAME] path = … makes a folder of images a pool"
            : "pools: " + pools.map { "\($0.name) (\($0.path))" }.joined(separator: ", ")
    }

    // MARK: Where a disk is

    /// The image of a disk, whose source is `source`, and its pool. Everything that is wrong with either is an error here, before any
    /// work.
    package func image(of disk: DiskName, source: String) throws(EngineError) -> PooledImage {
        guard !pools.isEmpty else { throw EngineError(.notFound, "no pool is configured", hint: poolHint) }
        // A pool that is away would only show as an image that is not there.
        for pool in pools where source.hasPrefix(pool.path + "/") { _ = try pool.realPath() }
        let path = try resolved(source, "the image of \(disk) cannot be read: \"\(source)\"")
        let facts: FileFacts
        do throws(Errno) {
            facts = try FileFacts.of(path)
        } catch {
            throw EngineError(.source, "the image of \(disk) cannot be read: \"\(source)\": \(error)", cause: error)
        }
        guard facts.kind == .regular else {
            throw EngineError(
                .source, "\"\(source)\" is no regular file: snapshots are of the image files in pools", hint: poolHint)
        }
        for pool in pools {
            // One that is away holds no image that is there.
            guard let real = realpath(pool.path, nil) else { continue }
            defer { free(real) }
            guard SnapshotPool.holds(path, in: String(cString: real)) else { continue }
            _ = try pool.realPath()
            return PooledImage(
                disk: disk, pool: pool, path: path, byteCount: facts.byteCount,
                allocatedByteCount: facts.allocatedByteCount)
        }
        throw EngineError(.notFound, "the image of \(disk), \"\(path)\", is in no pool", hint: poolHint)
    }

    // MARK: Making

    /// Makes a snapshot of a disk. `open` reaches the consistent point; what it gives is released, whatever comes of it.
    package func create(
        _ image: PooledImage, progress: ProgressReport = { _, _ in },
        opening open: () throws -> (source: any ImageSource, release: () -> Void)
    ) throws(EngineError) -> SnapshotRecord {
        do {
            let folder = try SnapshotFolder(image.pool, image.disk, makes: true)
            try cleanUp(folder)
            try demandRoom(for: min(image.allocatedByteCount, image.byteCount), in: folder.path, image.pool)
            let (source, release) = try open()
            defer { release() }
            if source.byteCount == 0 {
                throw EngineError(.emptyImage, "\"\(source.name)\" is empty: there is nothing to keep")
            }
            return try make(folder, of: source, origin: image.path, progress)
        } catch {
            throw EngineError(error, subject: "a snapshot of \(image.disk)")
        }
    }

    private func make(
        _ folder: SnapshotFolder, of source: any ImageSource, origin: String, _ progress: ProgressReport
    ) throws -> SnapshotRecord {
        let createdAt = source.consistentAt ?? clock.secondsSince1970
        let copyPath = folder.path(SnapshotFolder.copyName)
        let record: SnapshotRecord
        do {
            let copy = try ImageCopy(making: copyPath, ofByteCount: source.byteCount)
            try source.stream(to: copy, progress: progress)
            if let expected = source.byteCount, expected != copy.byteCount {
                throw EngineError(
                    .incompleteImage, "\"\(source.name)\" has \(expected) bytes and \(copy.byteCount) came")
            }
            let hash = copy.finishHash()
            let allocated = try copy.finishFile()
            let date = try freeDate(from: BackupDate(secondsSince1970: createdAt), folder)
            record = SnapshotRecord(
                identifier: folder.identifier(date), createdAt: createdAt, origin: origin,
                consistency: source.consistency, rawByteCount: copy.byteCount, dataByteCount: allocated,
                rawSHA256: hash.bytes)
            try SnapshotFacts(record).bytes.withUnsafeBytes {
                try atomicReplace(folder.factsPath(date), $0, mode: 0o600)
            }
            try FileTree.rename(copyPath, to: folder.imagePath(date))
            try folder.synchronize()
        } catch {
            try? folder.remove(copyPath)
            throw error
        }
        try catalog.register(record)
        return record
    }

    /// The first second from `date` on that no snapshot of the disk has.
    private func freeDate(from date: BackupDate, _ folder: SnapshotFolder) throws -> BackupDate {
        var taken = Set(try catalog.snapshots(of: folder.disk).map(\.identifier.date))
        taken.formUnion(try folder.dates(SnapshotFolder.imageEnding))
        var date = date
        while taken.contains(date) { date = date.next() }
        return date
    }

    /// - Parameter pool: whose room it is, for the message.
    func demandRoom(for byteCount: UInt64, in path: String, _ pool: SnapshotPool) throws(EngineError) {
        let available: UInt64
        do throws(Errno) {
            available = try FileSystemSpace.of(path).availableByteCount
        } catch {
            throw EngineError(.source, "the room in the pool \"\(pool.name)\" is not known: \(error)", cause: error)
        }
        guard byteCount <= available else {
            throw EngineError(
                .noRoom, "the pool \"\(pool.name)\" has \(available) bytes free, a full copy needs \(byteCount)",
                hint: "holdfast snapshot delete DISK SNAPSHOT, or fewer with keep of [pools.\(pool.name)]")
        }
    }

    // MARK: Finding

    /// The snapshot of a disk that bears a date, or the newest one with `latest`.
    package func find(_ disk: SnapshotDiskPattern, _ date: BackupPattern.Date) throws(EngineError) -> SnapshotRecord {
        let all = try list(disk)
        let hint = "`holdfast snapshot list \(disk.disk)` shows what there is"
        switch date {
        case .latest:
            guard let newest = all.max(by: { $0.identifier.date < $1.identifier.date }) else { break }
            return newest
        case .exactly(let date):
            let found = all.filter { $0.identifier.date == date }
            guard let first = found.first else { break }
            guard found.count == 1 else {
                throw EngineError(
                    .invalidName, "there are snapshots of \(disk.disk) of \(date) in several pools",
                    hint: "name one: " + found.map { "\($0.identifier.pool):\(disk.disk)" }.joined(separator: ", "))
            }
            return first
        }
        throw EngineError(.notFound, "there is no such snapshot of \(disk.disk)", hint: hint)
    }

    /// Those of a disk, oldest first.
    package func list(_ disk: SnapshotDiskPattern) throws(EngineError) -> [SnapshotRecord] {
        try all(of: disk.disk).filter { disk.pool == nil || disk.pool == $0.identifier.pool }
    }

    /// All, or those of one disk, oldest first.
    package func all(of disk: DiskName? = nil) throws(EngineError) -> [SnapshotRecord] {
        do throws(CatalogError) {
            return try catalog.snapshots(of: disk)
        } catch {
            throw EngineError(error, subject: "snapshots")
        }
    }

    // MARK: Using

    /// Reads a snapshot through; `.damaged` where it is not what was copied.
    package func verify(_ record: SnapshotRecord, progress: ProgressReport = { _, _ in }) throws(EngineError) {
        do {
            let folder = try folder(of: record)
            try read(record, in: folder, to: ImageCopy(), progress)
        } catch {
            throw EngineError(error, subject: "\(record.identifier)")
        }
    }

    func folder(of record: SnapshotRecord) throws(EngineError) -> SnapshotFolder {
        let pool = try pool(record.identifier.pool)
        _ = try pool.realPath()
        return try SnapshotFolder(pool, record.identifier.diskName, makes: false)
    }

    /// Reads it from front to back; `.damaged` where length or hash are not those of the catalog.
    func read(
        _ record: SnapshotRecord, in folder: SnapshotFolder, to copy: ImageCopy, _ progress: ProgressReport
    ) throws {
        let identifier = record.identifier
        let source = try ImageFile.open(folder.imagePath(identifier.date), named: "\(identifier)")
        guard source.byteCount == record.rawByteCount else {
            throw EngineError(
                .damaged,
                "the snapshot \(identifier) is damaged: it has \(source.byteCount ?? 0) bytes, not \(record.rawByteCount)"
            )
        }
        try source.stream(to: copy, progress: progress)
        guard copy.finishHash().bytes == record.rawSHA256 else {
            throw EngineError(.damaged, "the snapshot \(identifier) is damaged: its SHA-256 is not the recorded one")
        }
    }

    // MARK: Removing

    /// Removes a snapshot. One whose file is gone already is forgotten.
    package func delete(_ identifier: SnapshotIdentifier) throws(EngineError) {
        let pool = try pool(identifier.pool)
        // Rows of a pool that is away must not be forgotten: its files are still there.
        _ = try pool.realPath()
        do {
            let folder = try SnapshotFolder(pool, identifier.diskName, makes: true)
            try folder.doom(identifier.date)
            try finishDeleting(identifier.date, folder)
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    func finishDeleting(_ date: BackupDate, _ folder: SnapshotFolder) throws {
        try catalog.remove(folder.identifier(date))
        try folder.remove(folder.factsPath(date))
        try folder.remove(folder.doomedPath(date))
        try folder.synchronize()
    }
}
