internal import BackupEngine
internal import BackupNames
internal import SeekableZstd
internal import Snapshots
internal import Synchronization

/// A range of an open disk: the whole image, or one partition. Remembers how it has been read so far.
final class DiskView: Sendable {
    let disk: OpenDisk
    private let range: Range<UInt64>
    private let planner: Mutex<ReadAheadPlanner>

    init(disk: OpenDisk, range: Range<UInt64>) {
        self.disk = disk
        self.range = range
        planner = Mutex(ReadAheadPlanner(windowLimit: ReadPath.windowLimit))
        disk.addView()
    }

    deinit { disk.removeView() }

    /// Starts a read; it is shorter only at the end. Does not block.
    func read(at offset: UInt64, count: Int) -> ReadStart {
        let size = UInt64(range.count)
        guard offset < size else { return .ready([]) }
        let start = range.lowerBound + offset
        return disk.read(start..<start + min(UInt64(count), size - offset), planner: planner)
    }

    func seek(_ target: SeekTarget, from offset: UInt64) throws -> UInt64 {
        let size = UInt64(range.count)
        guard offset < size else { throw FileSystemError(.noSuchOffset, "behind the end") }
        let start = range.lowerBound + offset
        switch target {
        case .data:
            guard let data = disk.content.nextData(at: start), data < range.upperBound else {
                throw FileSystemError(.noSuchOffset, "no data behind \(offset)")
            }
            return data - range.lowerBound
        case .hole:
            return min(disk.content.nextHole(at: start), range.upperBound) - range.lowerBound
        }
    }
}

/// What the open handles of the mount stand for.
final class HandleTable: Sendable {
    enum Content: Sendable {
        case disk(DiskView)
        /// A small generated file, as it was when opened.
        case bytes([UInt8])
        case staged(StagedFile, canWrite: Bool)
        /// A snapshot's file.
        case file(SnapshotFile)
    }

    private struct State {
        var contents: [UInt64: Content] = [:]
        var next: UInt64 = 1
    }

    private let state = Mutex(State())

    func add(_ content: Content) -> UInt64 {
        state.withLock { state in
            let handle = state.next
            state.next += 1
            state.contents[handle] = content
            return handle
        }
    }

    func content(_ handle: UInt64) throws -> Content {
        guard let content = state.withLock({ $0.contents[handle] }) else {
            throw FileSystemError(.badHandle, "the handle \(handle) is not open")
        }
        return content
    }

    func remove(_ handle: UInt64) -> Content? { state.withLock { $0.contents.removeValue(forKey: handle) } }
}

/// The last few errors, for `status.json`.
final class RecentErrors: Sendable {
    struct Entry: Sendable {
        let secondsSince1970: Int64
        let text: String
    }

    private static let limit = 20
    private let entries = Mutex<[Entry]>([])

    func note(_ text: String, at secondsSince1970: Int64) {
        entries.withLock { entries in
            entries.append(Entry(secondsSince1970: secondsSince1970, text: text))
            if entries.count > Self.limit { entries.removeFirst() }
        }
    }

    var all: [Entry] { entries.withLock { $0 } }
}
