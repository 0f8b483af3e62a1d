internal import Archive
internal import BackupNames
internal import Catalog
internal import Logging
internal import Manifest
internal import Storage
internal import Synchronization

/// An archive that may be wrapped anew while it is read.
///
/// The payload of all generations is the same, byte for byte; only the header before it differs. So when the object is gone and
/// the catalog's row is about a later generation, reads go on there, shifted by what the headers differ in; and the header that the
/// reader opened with is served from memory. What comes is authenticated by the reader as before.
final class FollowingSource: ArchiveSource {
    private struct Target {
        let source: any ArchiveSource
        let headerByteCount: UInt64
    }

    private let inner: any ArchiveSource
    private let header: [UInt8]
    private let place: BackupPlace
    private let engine: Engine
    private let target = Mutex<Target?>(nil)

    init(_ inner: any ArchiveSource, _ record: BackupRecord, engine: Engine) {
        self.inner = inner
        self.engine = engine
        header = record.archiveHeader
        place = record.place
    }

    var byteCount: UInt64 { inner.byteCount }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try read(at: archiveOffset, into: buffer, attempt: 0)
    }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        if let target = target.withLock({ $0 }) {
            return try read(target, at: archiveOffset, into: buffer, attempt: attempt)
        }
        do {
            try inner.read(at: archiveOffset, into: buffer, attempt: attempt)
        } catch let error as StorageError where error.code == .absent {
            guard let found = try find() else { throw error }
            target.withLock { $0 = found }
            try read(found, at: archiveOffset, into: buffer, attempt: attempt)
        }
    }

    func discard(_ range: Range<UInt64>, attempt: Int) -> Int? {
        (target.withLock { $0?.source } ?? inner).discard(range, attempt: attempt)
    }

    private func read(
        _ target: Target, at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int
    ) throws {
        let inHeader = Int(min(UInt64(buffer.count), UInt64(header.count) - min(UInt64(header.count), archiveOffset)))
        if inHeader > 0 {
            let start = Int(archiveOffset)
            buffer.copyBytes(from: header[start..<start + inHeader])
        }
        guard inHeader < buffer.count else { return }
        let payloadOffset = archiveOffset + UInt64(inHeader) - UInt64(header.count)
        try target.source.read(
            at: target.headerByteCount + payloadOffset,
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[inHeader...]), attempt: attempt)
    }

    /// The later generation, if there is one and it is of this very archive; nil where the object is just gone.
    private func find() throws -> Target? {
        guard let record = try engine.catalog.access(place.identifier), record.generation > place.generation else {
            return nil
        }
        _ = try engine.manifest(of: record)
        engine.log.info("\(place.identifier) was wrapped anew: reading goes on there")
        return Target(
            source: try engine.archiveSource(of: record), headerByteCount: UInt64(record.archiveHeader.count))
    }
}
