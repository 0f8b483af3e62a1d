package import Storage
internal import Synchronization

/// A store behind a link: every read takes a round trip, and all reads together share a bandwidth. Everything else passes at
/// once. Counts what is read.
///
/// The link is one pipe: answers go through it one after the other, each a round trip after its request at the earliest.
/// Time is real, so keep the figures small.
package final class LinkedStore: ObjectStore {
    /// One read: of which bytes of its object.
    package struct Request: Hashable, Sendable {
        package let key: ObjectKey
        package let range: Range<UInt64>
    }

    private struct State {
        var requests: [Request] = []
        /// When the pipe is free again.
        var free = ContinuousClock.now
        var first: ContinuousClock.Instant?
        var last = ContinuousClock.now
    }

    private let inner: any ObjectStore
    private let roundTrip: Duration
    private let bytesPerSecond: Double
    private let state = Mutex(State())

    package init(_ inner: any ObjectStore, roundTrip: Duration, bytesPerSecond: Double) {
        self.inner = inner
        self.roundTrip = roundTrip
        self.bytesPerSecond = bytesPerSecond
    }

    package var name: String { inner.name }

    // MARK: What was read

    package var requests: [Request] { state.withLock { $0.requests } }

    package func forgetRequests() {
        state.withLock { state in
            state.requests = []
            state.first = nil
        }
    }

    /// How much of the time from the first request to the last answer the link was busy with bytes: 0 to 1.
    package var utilisation: Double {
        state.withLock { state in
            guard let first = state.first else { return 0 }
            let bytes = state.requests.reduce(0) { $0 + $1.range.count }
            return Double(bytes) / bytesPerSecond / ((state.last - first) / .seconds(1))
        }
    }

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        let end = state.withLock { state in
            let now = ContinuousClock.now
            if state.first == nil { state.first = now }
            state.requests.append(Request(key: key, range: offset..<offset + UInt64(buffer.count)))
            state.free = max(state.free, now + roundTrip) + .seconds(Double(buffer.count) / bytesPerSecond)
            return state.free
        }
        Pause.until(end)
        state.withLock { $0.last = max($0.last, end) }
        try inner.read(key, at: offset, into: buffer)
    }

    // MARK: Passed on

    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload { try inner.upload(key) }

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
