internal import Archive
package import BackupEngine
internal import BackupNames
internal import SeekableZstd
internal import Synchronization

/// An opened backup with everything reads need: shared by all handles on its files.
package final class OpenDisk: Sendable {
    package let backup: OpenBackup
    let serial: UInt64
    /// `backend/org/vm/date/disk.raw`
    let pathInTree: String
    private let readPath: ReadPath
    private let viewCount = Atomic(0)

    init(backup: OpenBackup, serial: UInt64, readPath: ReadPath) {
        self.backup = backup
        pathInTree = backup.identifier.pathInTree
        self.serial = serial
        self.readPath = readPath
    }

    deinit { readPath.cache.forget(disk: serial) }

    package var rawByteCount: UInt64 { backup.reader.rawByteCount }
    var table: SeekTable { backup.reader.seekTable }

    /// Starts to read raw bytes; the range must lie inside the image. Does not block.
    func read(_ range: Range<UInt64>, planner: borrowing Mutex<ReadAheadPlanner>) -> ReadStart {
        range.isEmpty ? .ready([]) : readPath.read(range, of: self, planner: planner)
    }

    /// Starts to read bytes of the archive; the range must lie inside it. Does not block.
    func readArchive(_ range: Range<UInt64>) -> ReadStart {
        range.isEmpty ? .ready([]) : readPath.read(range, ofArchive: self)
    }

    // MARK: Views

    /// Nobody has a file of it open.
    var isUnviewed: Bool { viewCount.load(ordering: .acquiring) == 0 }

    func addView() { viewCount.add(1, ordering: .relaxed) }

    /// The last view takes what was fetched ahead and not decoded with it.
    func removeView() {
        let (_, left) = viewCount.subtract(1, ordering: .acquiringAndReleasing)
        if left == 0 { readPath.loader.dropParked(of: self) }
    }
}
