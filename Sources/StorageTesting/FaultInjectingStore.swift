package import Storage
internal import Synchronization

/// A store that fails as it is told, and counts. Everything else passes through to the store behind it.
///
/// For a fault loop: ``failOperation(_:of:_:with:)`` with n = 0, 1, 2 … until a run succeeds without the fault having come.
package final class FaultInjectingStore: ObjectStore {
    package enum Operation: Hashable, Sendable, CaseIterable {
        case upload, append, copy, complete, abort, abortUpload, read, head, list, delete, putIfAbsent, space, lock
    }

    package enum Persistence: Hashable, Sendable {
        /// Only operation n fails.
        case once
        /// Operation n fails, and all after it (of the kinds that the fault is for).
        case forGood
    }

    package enum Moment: Hashable, Sendable {
        /// The operation does not happen.
        case beforeEffect
        /// The operation happens, but its answer is lost.
        case afterEffect
    }

    struct Fault {
        let index: Int
        let operation: Operation?
        let persistence: Persistence
        let moment: Moment
        let code: StorageError.Code
        /// At the first hit, on its caller's thread: what is looked at as a crash there would leave it. Nothing after it has an effect.
        let action: (@Sendable () -> Void)?
        var seen = 0
        var hits = 0
    }

    /// Something that happens while an operation is under way.
    struct Event {
        let index: Int
        let operation: Operation
        let action: @Sendable () -> Void
        var seen = 0
    }

    struct State {
        var events: [Event] = []
        var faults: [Fault] = []
        var counts: [Operation: Int] = [:]
        var readByteCount: UInt64 = 0
        var corruptsCopies = false
        var delays: [Operation: Duration] = [:]
        var flips: [(key: ObjectKey, offset: UInt64, bit: UInt8)] = []
    }

    package var name: String { inner.name }
    private let inner: any ObjectStore
    let state = Mutex(State())

    package init(_ inner: any ObjectStore) {
        self.inner = inner
    }

    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload {
        let upload = try passing(.upload, key.string) { () throws(StorageError) in try inner.upload(key) }
        return FaultInjectingUpload(store: self, key: key, inner: upload)
    }

    package func upload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> any ObjectUpload {
        let upload = try passing(.upload, key.string) { () throws(StorageError) in
            try inner.upload(key, lockedUntil: lockedUntil)
        }
        return FaultInjectingUpload(store: self, key: key, inner: upload)
    }

    package func lockedUntil(_ key: ObjectKey) throws(StorageError) -> Int64? {
        try passing(.head, key.string) { () throws(StorageError) in try inner.lockedUntil(key) }
    }

    package func lock(_ key: ObjectKey, until: Int64) throws(StorageError) {
        try passing(.lock, key.string) { () throws(StorageError) in try inner.lock(key, until: until) }
    }

    package func purge(_ key: ObjectKey) throws(StorageError) {
        try passing(.delete, key.string) { () throws(StorageError) in try inner.purge(key) }
    }

    package func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        try passing(.abortUpload, key.string) { () throws(StorageError) in
            try inner.abortUpload(identifier: identifier, key: key)
        }
    }

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        try passing(.read, key.string) { () throws(StorageError) in
            try inner.read(key, at: offset, into: buffer)
        }
        state.withLock { state in
            state.readByteCount += UInt64(buffer.count)
            for flip in state.flips
            where flip.key == key && flip.offset >= offset && flip.offset - offset < UInt64(buffer.count) {
                buffer[Int(flip.offset - offset)] ^= 1 << flip.bit
            }
        }
    }

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        try passing(.head, key.string) { () throws(StorageError) in try inner.head(key) }
    }

    package func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        try passing(.list, prefix) { () throws(StorageError) in
            try inner.list(prefix: prefix, after: after, limit: limit)
        }
    }

    package func delete(_ key: ObjectKey) throws(StorageError) {
        try passing(.delete, key.string) { () throws(StorageError) in try inner.delete(key) }
    }

    package func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        try passing(.putIfAbsent, key.string) { () throws(StorageError) in try inner.putIfAbsent(key, bytes) }
    }

    package func space() throws(StorageError) -> StorageSpace? {
        try passing(.space, name) { () throws(StorageError) in try inner.space() }
    }

    package func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        try passing(.abortUpload, prefix) { () throws(StorageError) in
            try inner.removeUnfinishedUploads(prefix: prefix, startedBefore: startedBefore, alive: alive)
        }
    }

    package func check() throws(StorageError) {
        try passing(.list, name) { () throws(StorageError) in try inner.check() }
    }

    package func probe() throws(StorageError) { try inner.probe() }

    package func copiesInPlace() throws(StorageError) -> Bool { try inner.copiesInPlace() }

    package var condition: StoreCondition { inner.condition }

    package func close() { inner.close() }

    /// Counts, delays and fails an operation as it was told.
    func passing<Result>(
        _ operation: Operation, _ subject: String, _ body: () throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        let (fault, delay) = state.withLock { $0.begin(operation) }
        let actions = state.withLock { $0.takeActions(operation) }
        defer { for action in actions { action() } }
        if let delay { sleep(for: delay) }
        guard let fault else { return try body() }
        if fault.moment == .afterEffect, fault.hits == 0 || fault.action == nil { _ = try body() }
        if fault.hits == 0 { fault.action?() }
        throw StorageError(fault.code, subject, "injected fault of \(operation)")
    }
}

final class FaultInjectingUpload: ObjectUpload {
    var identifier: String { inner.identifier }
    private let store: FaultInjectingStore
    private let key: ObjectKey
    private let inner: any ObjectUpload

    init(store: FaultInjectingStore, key: ObjectKey, inner: any ObjectUpload) {
        self.store = store
        self.key = key
        self.inner = inner
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try store.passing(.append, key.string) { () throws(StorageError) in try inner.append(bytes) }
    }

    func append(copying key: ObjectKey, _ range: Range<UInt64>) throws(StorageError) {
        try store.passing(.copy, self.key.string) { () throws(StorageError) in
            guard store.state.withLock({ $0.corruptsCopies }), !range.isEmpty else {
                return try inner.append(copying: key, range)
            }
            try inner.append(copying: key, range.dropLast())
            var last = [UInt8](repeating: 0, count: 1)
            let result = last.withUnsafeMutableBytes { buffer in
                Result { () throws(StorageError) in try store.read(key, at: range.upperBound - 1, into: buffer) }
            }
            try result.get()
            last[0] ^= 0x80
            try last.withUnsafeBytes { bytes in
                Result { () throws(StorageError) in try inner.append(bytes) }
            }.get()
        }
    }

    func complete() throws(StorageError) -> ObjectFacts {
        try store.passing(.complete, key.string) { () throws(StorageError) in try inner.complete() }
    }

    /// A fault of `abort` means that nothing is cleaned up, as when the process dies there.
    func abort() {
        do throws(StorageError) {
            try store.passing(.abort, key.string) { () throws(StorageError) in inner.abort() }
        } catch {
            return
        }
    }
}
