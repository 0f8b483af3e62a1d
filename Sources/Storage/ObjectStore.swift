/// A place that keeps named, immutable byte strings. This is the contract that every store keeps and every wrapper
/// (retry, throttle, fault injection) passes on; `ObjectStoreConformance` checks it.
///
/// - **Atomic.** An object is there completely or not at all. It appears by ``ObjectUpload/complete()`` or
///   ``putIfAbsent(_:_:)`` in one step, and from then on `head`, `read` and `list` see it, in this process and all
///   others. What is not completed is never seen by them. An object's bytes never change; it can only be deleted.
/// - **Never replaced.** Of several uploads to one key exactly one completes; the others get `.alreadyExists`.
/// - **Durable.** When `complete`, `putIfAbsent` or `delete` returns, a power cut does not undo it.
/// - **Retry.** `read`, `head`, `list`, `delete`, `abortUpload` and `space` may be repeated after any error. `append` may
///   not: after its error only `abort` makes sense. A `complete` or `putIfAbsent` that failed with `.unavailable` may
///   nevertheless have taken effect (a lost answer): ask `head` before repeating; `.alreadyExists` then means either
///   this object or somebody else's, and only the content tells which.
/// - **Short ranges.** There are none: `read` fills the buffer or throws. A range that goes beyond the end is
///   `.rangeNotSatisfiable`. An empty range within the object, its end included, succeeds.
/// - **Absent.** `.absent` means: the store was reached and has no such object. A store that cannot be reached is
///   `.unavailable`, never `.absent` and never an empty listing.
/// - **Errors** by code: `.denied` (read-only, no permission), `.noSpace`, `.unavailable`, `.invalidKey`, …
/// - **Threads.** All calls block and may be made from several threads at once; never from Swift's cooperative pool.
package protocol ObjectStore: Sendable {
    /// The backend's name, for messages.
    var name: String { get }

    /// Starts an upload. Nothing is seen under `key` until it is completed.
    ///
    /// An object of that key may be found at once (`.alreadyExists`) or only when the upload is completed.
    func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload

    /// As ``upload(_:)``, of an object that nobody can remove before `lockedUntil`, seconds since 1970: the lock is there when it is
    /// completed, and was read back. `.denied` where the store cannot, or is not configured to.
    func upload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> any ObjectUpload

    /// Until when nobody can remove the object, seconds since 1970: `Int64.max` until somebody takes a legal hold back. nil: it is not
    /// locked.
    func lockedUntil(_ key: ObjectKey) throws(StorageError) -> Int64?

    /// Locks an object, or lengthens its lock, and reads it back. A lock is never shortened: one that is longer stays.
    func lock(_ key: ObjectKey, until: Int64) throws(StorageError)

    /// Removes the object as ``delete(_:)`` does, and where the store keeps versions, the bytes too. `.denied` where it is locked.
    func purge(_ key: ObjectKey) throws(StorageError)

    /// Ends the upload of a process that is gone, and gives its space back. `identifier` is what
    /// ``ObjectUpload/identifier`` was.
    ///
    /// An upload that is not there any more, or was completed, is success; a completed object is not touched.
    func abortUpload(identifier: String, key: ObjectKey) throws(StorageError)

    /// Fills `buffer` with the object's bytes from `offset` on, or throws. What the buffer holds after an error is
    /// undefined.
    func read(_ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError)

    /// The facts of the object, or `.absent`.
    func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts

    /// At most `limit` (at least 1) objects whose keys start with the bytes of `prefix` (which need not end at a `/`)
    /// and come after `after`, sorted by bytes.
    ///
    /// A sequence of pages shows every object that was there all the time exactly once; one that comes or goes meanwhile
    /// may be shown or not.
    func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage

    /// Removes the object. One that is not there is success.
    func delete(_ key: ObjectKey) throws(StorageError)

    /// Stores a small object in one step, or throws `.alreadyExists`.
    func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts

    /// The room in the store, or nil where a store has no such bounds.
    func space() throws(StorageError) -> StorageSpace?

    /// Removes objects as ``delete(_:)`` does; after an error some may be gone.
    func delete(_ keys: [ObjectKey]) throws(StorageError)

    /// Asks the store whether it can be used as it is configured, once and not for long: what is wrong is thrown.
    func check() throws(StorageError)

    /// Finds out anew what the store can do, where there is something to find out; ``condition`` tells it.
    func probe() throws(StorageError)

    /// Gives back what uploads left that nobody completed or aborted: those of keys with this prefix that started before
    /// `startedBefore` (seconds since 1970) and are not among `alive` (identifiers). One that the store itself knows to be
    /// alive is never touched. Returns their identifiers.
    func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String]

    /// Whether ``ObjectUpload/append(copying:_:)`` copies where the objects are, without the bytes passing through this host.
    func copiesInPlace() throws(StorageError) -> Bool

    /// How the store has been doing in this process.
    var condition: StoreCondition { get }

    /// Ends every request under way with an error, and every later one at once: the process ends. A store whose calls
    /// cannot be interrupted does nothing.
    func interrupt()

    /// Ends everything under way; nothing may be asked of the store any more.
    func close()
}

extension ObjectStore {
    package func upload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> any ObjectUpload {
        if lockedUntil != nil { throw Self.cannotLock(key) }
        return try upload(key)
    }

    package func lockedUntil(_ key: ObjectKey) throws(StorageError) -> Int64? { nil }

    package func lock(_ key: ObjectKey, until: Int64) throws(StorageError) { throw Self.cannotLock(key) }

    package func purge(_ key: ObjectKey) throws(StorageError) { try delete(key) }

    private static func cannotLock(_ key: ObjectKey) -> StorageError {
        StorageError(.denied, key.string, "objects cannot be locked here")
    }

    package func delete(_ keys: [ObjectKey]) throws(StorageError) {
        for key in keys { try delete(key) }
    }

    package func check() throws(StorageError) { _ = try list(prefix: "", after: nil, limit: 1) }

    package func probe() throws(StorageError) {}

    package func copiesInPlace() throws(StorageError) -> Bool { false }

    package var condition: StoreCondition { StoreCondition() }

    package func interrupt() {}

    package func close() {}
}

/// An object under way. Append in order from one thread at a time, then complete once, or abort.
///
/// An upload that is neither completed nor aborted when its last reference goes is aborted as far as possible; one whose
/// process dies stays until ``ObjectStore/abortUpload(identifier:key:)``.
package protocol ObjectUpload: AnyObject, Sendable {
    /// Names the upload in its store, for a crash journal. Known before the first byte, and never changes.
    var identifier: String { get }

    /// Adds bytes at the end. They may be buffered: errors of earlier bytes may come later, at the latest from
    /// `complete`. After an error all further calls but `abort` throw.
    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError)

    /// Adds a range of another object of the same store at the end, as ``append(_:)`` would its bytes: where the store can,
    /// they do not pass through this host. Takes as long as that takes.
    ///
    /// `.absent` where there is no such object, `.rangeNotSatisfiable` where it ends before the range does. Whether the bytes came
    /// over right is not checked: whoever must know reads them.
    func append(copying key: ObjectKey, _ range: Range<UInt64>) throws(StorageError)

    /// Makes the object durable and visible, in this order, and never replaces one: `.alreadyExists`. The facts are those of the
    /// object as it is stored, asked of the store after it was made.
    ///
    /// After an error the upload is over: `abort` cleans up, and further calls throw.
    func complete() throws(StorageError) -> ObjectFacts

    /// Gives up and frees what the upload took. Harmless after `complete` (the object stays) and after itself; may be
    /// called from any thread. It cannot fail: what it cannot remove, `abortUpload` will.
    func abort()
}

extension ObjectUpload {
    /// Reads a range of an object and appends it: for stores that cannot copy by themselves.
    package func append(
        reading key: ObjectKey, _ range: Range<UInt64>, from store: any ObjectStore
    ) throws(StorageError) {
        // A stretch that is worth a request.
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(min(UInt64(range.count), 4 << 20)), alignment: 4096)
        defer { buffer.deallocate() }
        // An empty range may still be of no object.
        guard !range.isEmpty else {
            return try store.read(key, at: range.lowerBound, into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
        }
        var offset = range.lowerBound
        while offset < range.upperBound {
            let count = Int(min(UInt64(buffer.count), range.upperBound - offset))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
            try store.read(key, at: offset, into: part)
            try append(UnsafeRawBufferPointer(part))
            offset += UInt64(count)
        }
    }
}
