internal import Archive
internal import Synchronization

/// An archive read through the cache: at most one request to the backend for each read.
final class RangeCacheSource: ArchiveSource {
    /// The ranges remembered as served from the disk: more than there are reads between fetch and decryption.
    private static let servedLimit = 256
    /// Attempts from here on go past the cache.
    private static let beyondCache = 1 << 16

    private let store: RangeStore
    private let archive: CachedArchive
    private let inner: any ArchiveSource
    /// What was served from the disk and not complained of, the latest last.
    private let served = Mutex<[Range<UInt64>]>([])

    private let waitingMilliseconds: Int

    init(store: RangeStore, archive: CachedArchive, inner: any ArchiveSource, waitingMilliseconds: Int) {
        self.waitingMilliseconds = waitingMilliseconds
        self.store = store
        self.archive = archive
        self.inner = inner
    }

    var byteCount: UInt64 { inner.byteCount }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let (end, overflow) = archiveOffset.addingReportingOverflow(UInt64(buffer.count))
        // What makes no sense is for the inner source to name.
        guard !overflow, !buffer.isEmpty, end <= byteCount, store.geometry.spans(end) else {
            return try inner.read(at: archiveOffset, into: buffer)
        }
        let range = archiveOffset..<end
        guard let missing = store.serve(archive, range, into: buffer) else { return note([range]) }
        let start = Int(missing.lowerBound - archiveOffset)
        let part = buffer.part(start..<start + missing.count)
        try inner.read(at: missing.lowerBound, into: part)
        note([range.lowerBound..<missing.lowerBound, missing.upperBound..<range.upperBound])
        store.insert(
            archive, missing, UnsafeRawBufferPointer(part), waitingMilliseconds: waitingMilliseconds)
    }

    /// Around the cache: `attempt` less `beyondCache` is the inner source's.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        guard attempt >= Self.beyondCache else { return try read(at: archiveOffset, into: buffer) }
        try inner.read(at: archiveOffset, into: buffer, attempt: attempt - Self.beyondCache)
        let (end, overflow) = archiveOffset.addingReportingOverflow(UInt64(buffer.count))
        guard !overflow, !buffer.isEmpty, end <= byteCount, store.geometry.spans(end) else { return }
        store.insert(archive, archiveOffset..<end, UnsafeRawBufferPointer(buffer))
    }

    /// Drops the range from the cache. Where a read of these bytes was served from the disk, the backend itself is next, and it
    /// is not to blame yet.
    func discard(_ range: Range<UInt64>, attempt: Int) -> Int? {
        let innerAttempt = max(0, attempt - Self.beyondCache)
        guard !range.isEmpty, store.geometry.spans(range.upperBound) else {
            return inner.discard(range, attempt: innerAttempt).map { $0 + Self.beyondCache }
        }
        let wasServed = served.withLock { served in
            guard let index = served.lastIndex(where: { $0.overlaps(range) }) else { return false }
            served.remove(at: index)
            return true
        }
        store.discard(archive, range, wereServed: wasServed)
        if attempt == 0, wasServed { return Self.beyondCache }
        return inner.discard(range, attempt: innerAttempt).map { $0 + Self.beyondCache }
    }

    private func note(_ ranges: [Range<UInt64>]) {
        served.withLock { served in
            for range in ranges where !range.isEmpty {
                if served.count >= Self.servedLimit { served.removeFirst(Self.servedLimit / 4) }
                served.append(range)
            }
        }
    }
}
