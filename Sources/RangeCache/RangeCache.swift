package import Archive
package import Logging
internal import Synchronization
internal import SystemIO
internal import Workers

/// The disk cache: ciphertext of archives, as it came from the backends, in two files of the state folder.
///
/// Nothing decrypted is ever in it; each block carries a checksum that is verified on each use, and the AEAD judges after
/// that. A failure of the cache is never a failure of a read: the bytes come from the backend then.
///
/// States. A read is served from the disk only while the cache is *on*:
///
///     state      begins                                      ends
///     off        capacity 0 or below one slot                 never; what lies in the folder is removed
///     opening    init; the writer opens and reads the index   on; suspended when that fails
///     on         the index is read, or a probe was in time    suspended; closed
///     suspended  a read took longer than the time-out, a      after `retryMilliseconds` one probe (a small read, or
///                read failed, another process has the lock,   opening again) decides between on and suspended
///                the files cannot be opened
///     closed     `close`                                      never
///
/// Ownership:
///
///     what                          owner             who else
///     folder, files, lock           FolderDisk        one process at a time, by flock on `v1/lock`
///     changes of both files         writer thread     nobody
///     table of slots                a mutex           readers look and clear bits; the writer gives slots away
///     memory a disk read fills      the read's job    the caller copies out of it; who gives up just leaves
///     memory of a queued insert     the queue         at most 8 MiB; then inserts are dropped
///
/// Failures:
///
///     what                              what happens                                            counted as
///     block or entry fails its checksum dropped, fetched again, stored anew                     bad block
///     block fails the AEAD              `discard` drops it; read once more from the backend     bad block
///     read slower than the time-out     the read goes to the backend; suspended                 time-out
///     read error                        as above; the slots are dropped                         disk error
///     write error, disk full, read-only inserts pause, reads go on; the slot is given back      disk error
///     free space below the floor        slots are given back until it is reached; no inserts    eviction, dropped insert
///     insert queue full                 the range is not stored                                 dropped insert
///     SIGKILL, power cut                what was not whole fails its checksum or was never listed
///
/// The cap holds at every instant, because both files have a fixed size below it and are never larger: index and data
/// together with what a file system adds for extents.
///
/// Any thread may call. No call waits for the disk, but reads (for the time-out, and as long again for those before them) and
/// `close` for its limit.
package final class RangeCache: Sendable {
    private let store: RangeStore?
    private let capacityByteCount: UInt64
    /// Runs only to remove what an earlier configuration left.
    private let removal: Monitor<Bool>?
    private let isClosed = Atomic(false)

    /// Opens the cache in the folder `path` (its files go to `path/v1`), in the background.
    ///
    /// - `capacityByteCount`: what both files may take; 0 turns the cache off and removes them.
    /// - `freeSpaceFloorByteCount`: nil is the larger of 5 % and 1 GiB of the file system.
    /// - `readTimeoutMilliseconds`: how long a read waits for the disk before it goes to the backend.
    /// - `retryMilliseconds`: how long a cache that failed is left alone.
    package convenience init(
        path: String, capacityByteCount: UInt64, freeSpaceFloorByteCount: UInt64? = nil,
        readTimeoutMilliseconds: Int = 500, retryMilliseconds: Int = 30_000, log: Logger
    ) {
        var settings = RangeStore.Settings()
        settings.freeSpaceFloorByteCount = freeSpaceFloorByteCount
        settings.readTimeoutMilliseconds = readTimeoutMilliseconds
        settings.retryMilliseconds = retryMilliseconds
        self.init(path: path, capacityByteCount: capacityByteCount, settings: settings, log: log)
    }

    /// For tests: `wrap` puts something between the cache and its disk.
    init(
        path: String, capacityByteCount: UInt64, settings: RangeStore.Settings, log: Logger,
        wrap: @escaping @Sendable (any CacheDisk) -> any CacheDisk = { $0 }
    ) {
        self.capacityByteCount = capacityByteCount
        guard let geometry = CacheGeometry(capacityByteCount: capacityByteCount) else {
            if capacityByteCount > 0 {
                log.warning("a range cache of \(capacityByteCount) bytes holds nothing: it is off")
            }
            store = nil
            removal = Self.startRemoval(path, log)
            return
        }
        removal = nil
        let store = RangeStore(geometry: geometry, settings: settings, log: log) { () throws(Errno) in
            wrap(try FolderDisk(path: path, geometry: geometry))
        }
        self.store = store
        store.start()
    }

    deinit { _ = close() }

    /// Removes an unwanted cache on a thread of its own, for that disk may hang as well.
    private static func startRemoval(_ path: String, _ log: Logger) -> Monitor<Bool> {
        let done = Monitor(false)
        NativeThread(name: "cache-removal") {
            do throws(Errno) {
                try FolderDisk.remove(path: path)
            } catch {
                log.warning("the range cache in \"\(path)\" is not wanted and cannot be removed: \(error)")
            }
            done.withLock { $0 = true }
        }.detach()
        return done
    }

    /// The source of an archive, read through the cache.
    ///
    /// `identity` is the archive's header_sha256, 32 bytes; `gridOrigin` is where its first chunk starts (the bytes of header
    /// and nonce): blocks are chunks then. Another origin serves as well, with more joining of blocks. What is read is kept if the
    /// disk is fast enough; with `waitingMilliseconds` a read waits so long for it, for whoever will read all of it again.
    package func source(
        identity: [UInt8], gridOrigin: UInt64 = 0, over inner: any ArchiveSource, waitingMilliseconds: Int = 0
    ) -> any ArchiveSource {
        guard let store else { return inner }
        return RangeCacheSource(
            store: store, archive: CachedArchive(identity: identity, gridOrigin: gridOrigin), inner: inner,
            waitingMilliseconds: waitingMilliseconds)
    }

    package var status: RangeCacheStatus {
        if let store { return store.status(capacityByteCount: capacityByteCount) }
        return RangeCacheStatus(
            state: .off, capacityByteCount: capacityByteCount, slotByteCount: 0, slotCount: 0, usedSlotCount: 0,
            hitCount: 0, partialHitCount: 0, missCount: 0, servedByteCount: 0, insertedByteCount: 0,
            evictedByteCount: 0, badBlockCount: 0, timeoutCount: 0, diskErrorCount: 0, droppedInsertCount: 0)
    }

    /// Waits until the files are open and the index is read, or that has failed. False: not yet.
    package func waitUntilOpened(milliseconds: Int) -> Bool {
        if let removal { return removal.wait(milliseconds: milliseconds) { $0 ? () : nil } != nil }
        return store?.waitUntilOpened(milliseconds: milliseconds) ?? true
    }

    /// Waits until everything that is queued is written. False: not yet.
    package func waitUntilIdle(milliseconds: Int) -> Bool {
        store?.waitUntilIdle(milliseconds: milliseconds) ?? true
    }

    /// Writes what is queued, ends the threads and gives the lock back. False: the disk still hangs after that time; what
    /// hangs keeps file and lock until it returns, and touches nothing else. Sources go on, without the cache.
    @discardableResult
    package func close(milliseconds: Int = 2000) -> Bool {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return true }
        if let removal { return removal.wait(milliseconds: milliseconds) { $0 ? () : nil } != nil }
        return store?.close(milliseconds: milliseconds) ?? true
    }
}
