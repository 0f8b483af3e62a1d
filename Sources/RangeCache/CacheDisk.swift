package import SystemIO

/// The two files of the cache, and the room around them: everything that can hang or fail. Tests put faults in between.
///
/// All calls block, from any thread.
package protocol CacheDisk: Sendable {
    /// Reads until `buffer` is full or the file ends.
    func read(_ file: CacheFile, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int
    func write(_ file: CacheFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno)
    /// Gives the room of a range of the data file back to the file system; it reads as zeros then.
    func release(_ range: Range<UInt64>) throws(Errno)
    func space() throws(Errno) -> CacheSpace
}

package enum CacheFile: Sendable { case index, data }

/// The room in the file system that holds the cache.
package struct CacheSpace: Sendable, Hashable {
    package let totalByteCount: UInt64
    package let availableByteCount: UInt64

    package init(totalByteCount: UInt64, availableByteCount: UInt64) {
        self.totalByteCount = totalByteCount
        self.availableByteCount = availableByteCount
    }
}
