import Glibc
import SystemIO
import Workers

@testable import RangeCache

/// A disk that hangs or fails on command.
final class FaultyDisk: CacheDisk {
    struct Faults: Sendable {
        var hangs = false
        var readError: Errno?
        var writeError: Errno?
        var available: UInt64?
        var waiting = 0
        var releasedByteCount: UInt64 = 0
        /// Each written range of the data file.
        var writes: [Range<UInt64>] = []
    }

    let faults = Monitor(Faults())
    private let inner: Monitor<(any CacheDisk)?> = Monitor(nil)

    func wrap(_ disk: any CacheDisk) -> any CacheDisk {
        inner.withLock { $0 = disk }
        return self
    }

    /// Lets go of the files, as a closed cache does.
    func letGo() { inner.withLock { $0 = nil } }

    func set(_ change: @Sendable (inout Faults) -> Void) { faults.withLock { change(&$0) } }

    /// A thread that hung may go on when the files are closed.
    private var disk: any CacheDisk {
        get throws(Errno) {
            guard let disk = inner.withLockQuietly({ $0 }) else { throw Errno(EBADF) }
            return disk
        }
    }

    private func pass(_ error: (Faults) -> Errno?) throws(Errno) {
        faults.withLock { $0.waiting += 1 }
        let found = faults.wait { faults -> Errno?? in faults.hangs ? nil : .some(error(faults)) }
        faults.withLock { $0.waiting -= 1 }
        if let found { throw found }
    }

    func read(_ file: CacheFile, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try pass { $0.readError }
        return try disk.read(file, at: offset, into: buffer)
    }

    func write(_ file: CacheFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        try pass { $0.writeError }
        if file == .data { faults.withLock { $0.writes.append(offset..<offset + UInt64(bytes.count)) } }
        try disk.write(file, bytes, at: offset)
    }

    func release(_ range: Range<UInt64>) throws(Errno) {
        try pass { _ in nil }
        faults.withLock { $0.releasedByteCount += UInt64(range.count) }
        try disk.release(range)
    }

    func space() throws(Errno) -> CacheSpace {
        try pass { _ in nil }
        let space = try disk.space()
        guard let available = faults.withLockQuietly({ $0.available }) else { return space }
        let released = faults.withLockQuietly { $0.releasedByteCount }
        return CacheSpace(totalByteCount: space.totalByteCount, availableByteCount: available + released)
    }
}
