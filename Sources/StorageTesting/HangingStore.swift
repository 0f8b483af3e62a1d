package import Storage
internal import Synchronization

/// A store whose reads, or the starting of uploads, can be made to hang, as those of a network that is gone: they block until
/// `release`, and then throw `.timedOut`; a start goes on. Everything else passes.
package final class HangingStore: ObjectStore {
    private struct State {
        var isHanging = false
        /// Counts releases: a read that hangs waits for the next one.
        var releases = 0
        var hanging = 0
        /// Bytes of the next reads are changed on their way.
        var damagedReads = 0
        var readCount = 0
        var isHoldingStarts = false
    }

    private let inner: any ObjectStore
    private let state = Mutex(State())

    package init(_ inner: any ObjectStore) { self.inner = inner }

    package var name: String { inner.name }

    /// Lets every read from now on hang.
    package func hang() { state.withLock { $0.isHanging = true } }

    /// Lets every upload that starts from now on wait for `release`.
    package func holdStarts() { state.withLock { $0.isHoldingStarts = true } }

    /// Fails the reads that hang, and lets new ones pass.
    package func release() {
        state.withLock { state in
            state.isHanging = false
            state.isHoldingStarts = false
            state.releases += 1
        }
    }

    /// Damages the bytes that the next `count` reads give.
    package func damage(reads count: Int) { state.withLock { $0.damagedReads = count } }

    /// How many reads hang now.
    package var hangingCount: Int { state.withLock { $0.hanging } }
    package var readCount: Int { state.withLock { $0.readCount } }

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        let (releases, isDamaged): (Int?, Bool) = state.withLock { state in
            state.readCount += 1
            let isDamaged = state.damagedReads > 0
            if isDamaged { state.damagedReads -= 1 }
            guard state.isHanging else { return (nil, isDamaged) }
            state.hanging += 1
            return (state.releases, isDamaged)
        }
        if let releases {
            while state.withLock({ $0.releases == releases }) { Pause.until(.now + .milliseconds(2)) }
            state.withLock { $0.hanging -= 1 }
            throw StorageError(.timedOut, key.string, "no answer")
        }
        try inner.read(key, at: offset, into: buffer)
        if isDamaged { for index in buffer.indices { buffer[index] ^= 0x55 } }
    }

    // MARK: Passed on

    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload {
        while state.withLock({ $0.isHoldingStarts }) { Pause.until(.now + .milliseconds(2)) }
        return try inner.upload(key)
    }

    package func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        try inner.abortUpload(identifier: identifier, key: key)
    }

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts { try inner.head(key) }

    package func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        try inner.list(prefix: prefix, after: after, limit: limit)
    }

    package func delete(_ key: ObjectKey) throws(StorageError) { try inner.delete(key) }

    package func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        try inner.putIfAbsent(key, bytes)
    }

    package func space() throws(StorageError) -> StorageSpace? { try inner.space() }

    package func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        try inner.removeUnfinishedUploads(prefix: prefix, startedBefore: startedBefore, alive: alive)
    }
}
