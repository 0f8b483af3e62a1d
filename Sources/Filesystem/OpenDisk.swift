package import BackupEngine
internal import BackupNames
internal import Synchronization

/// One file of an opened backup, its image or its archive, with everything reads need: shared by all handles on it.
package final class OpenDisk: Sendable {
    /// Which of the backup's files.
    enum Part: Hashable {
        case image, archive
    }

    package let backup: OpenBackup
    let content: any FrameContent
    let serial: UInt64
    /// `backend/org/vm/date/disk.raw`, by which what is read of it is traced; nil for an archive.
    let pathInTree: String?
    private let readPath: ReadPath
    private let viewCount = Atomic(0)

    /// An image must be one that is read at random.
    init(_ part: Part = .image, of backup: OpenBackup, serial: UInt64, readPath: ReadPath) throws(EngineError) {
        self.backup = backup
        switch part {
        case .image:
            content = ImageContent(reader: try backup.reader)
            pathInTree = backup.identifier.pathInTree
        case .archive:
            content = ArchiveContent(source: backup.replicatedSource)
            pathInTree = nil
        }
        self.serial = serial
        self.readPath = readPath
    }

    deinit { readPath.cache.forget(disk: serial) }

    package var byteCount: UInt64 { content.byteCount }

    /// Starts a read; the range must lie inside the file. Does not block.
    func read(_ range: Range<UInt64>, planner: borrowing Mutex<ReadAheadPlanner>) -> ReadStart {
        range.isEmpty ? .ready([]) : readPath.read(range, of: self, planner: planner)
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
