package import Storage
internal import Synchronization

/// Objects in memory, with the whole contract of ``ObjectStore``, and what a test needs on top: short pages, a capacity,
/// a crash that forgets what was not completed, and a look inside.
package final class InMemoryStore: ObjectStore {
    struct Object {
        var bytes: [UInt8]
        let version: UInt64
    }

    struct State {
        var objects: [ObjectKey: Object] = [:]
        var uploads: [String: [UInt8]] = [:]
        /// The keys of all uploads there ever were.
        var uploadKeys: [String: ObjectKey] = [:]
        var counter: UInt64 = 0
        var maximumPageCount = Int.max
        var capacity: UInt64?
        var isAvailable = true
        /// Ends of locks, seconds since 1970.
        var locks: [ObjectKey: Int64] = [:]
        var lockClock: Int64?

        var usedByteCount: UInt64 {
            UInt64(objects.values.reduce(0) { $0 + $1.bytes.count } + uploads.values.reduce(0) { $0 + $1.count })
        }
    }

    package let name: String
    let state = Mutex(State())

    package init(name: String = "memory", capacity: UInt64? = nil) {
        self.name = name
        state.withLock { $0.capacity = capacity }
    }

    package var condition: StoreCondition {
        var condition = StoreCondition()
        condition.isThere = state.withLock { $0.isAvailable }
        return condition
    }

    package func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload {
        try locked { state throws(StorageError) in
            state.counter += 1
            let identifier = "upload-\(state.counter)"
            state.uploads[identifier] = []
            state.uploadKeys[identifier] = key
            return InMemoryUpload(store: self, key: key, identifier: identifier)
        }
    }

    package func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        try locked { state throws(StorageError) in state.uploads[identifier] = nil }
    }

    package func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        let bytes = try object(key).bytes
        let (end, overflow) = offset.addingReportingOverflow(UInt64(buffer.count))
        guard !overflow, end <= UInt64(bytes.count) else {
            throw StorageError(.rangeNotSatisfiable, key.string, "the object has \(bytes.count) bytes")
        }
        bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(end)])) }
    }

    package func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        Self.facts(key, try object(key))
    }

    package func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        try locked { state throws(StorageError) in
            var keys = state.objects.keys.filter { key in
                guard key.string.utf8.starts(with: prefix.utf8) else { return false }
                return after.map { $0.utf8.lexicographicallyPrecedes(key.string.utf8) } ?? true
            }
            keys.sort()
            let page = keys.prefix(min(limit, state.maximumPageCount))
            let objects = page.map { Self.facts($0, state.objects[$0]!) }
            return ObjectPage(objects: objects, next: page.count < keys.count ? page.last?.string : nil)
        }
    }

    package func delete(_ key: ObjectKey) throws(StorageError) {
        try locked { state throws(StorageError) in
            if let clock = state.lockClock, let end = state.locks[key], end > clock {
                throw StorageError(.denied, key.string, "the object is locked")
            }
            state.objects[key] = nil
            state.locks[key] = nil
        }
    }

    package func upload(_ key: ObjectKey, lockedUntil: Int64?) throws(StorageError) -> any ObjectUpload {
        if let lockedUntil { try setLock(key, lockedUntil) }
        return try upload(key)
    }

    package func lockedUntil(_ key: ObjectKey) throws(StorageError) -> Int64? {
        _ = try object(key)
        return try locked { state throws(StorageError) in state.locks[key] }
    }

    package func lock(_ key: ObjectKey, until: Int64) throws(StorageError) {
        _ = try object(key)
        try setLock(key, until)
    }

    private func setLock(_ key: ObjectKey, _ end: Int64) throws(StorageError) {
        try locked { state throws(StorageError) in
            guard state.lockClock != nil else {
                throw StorageError(.denied, key.string, "objects cannot be locked here")
            }
            state.locks[key] = max(end, state.locks[key] ?? end)
        }
    }

    package func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        try locked { state throws(StorageError) in
            try Self.reserve(bytes.count, &state)
            return try Self.insert(Array(bytes), as: key, &state)
        }
    }

    package func copiesInPlace() -> Bool { true }

    package func space() throws(StorageError) -> StorageSpace? {
        try locked { state throws(StorageError) in
            state.capacity.map { capacity in
                StorageSpace(
                    totalByteCount: capacity,
                    availableByteCount: capacity - min(capacity, state.usedByteCount))
            }
        }
    }

    /// Every upload started at the beginning of time.
    package func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        try locked { state throws(StorageError) in
            let removed = state.uploads.keys.filter { identifier in
                !alive.contains(identifier) && startedBefore > 0
                    && state.uploadKeys[identifier]?.string.hasPrefix(prefix) == true
            }
            for identifier in removed { state.uploads[identifier] = nil }
            return removed.sorted()
        }
    }

    // MARK: Shared with uploads

    func locked<Result>(_ body: (inout State) throws(StorageError) -> Result) throws(StorageError) -> Result {
        try state.withLock { (state) throws(StorageError) -> Result in
            guard state.isAvailable else { throw StorageError(.unavailable, name, "the store is not available") }
            return try body(&state)
        }
    }

    static func reserve(_ byteCount: Int, _ state: inout State) throws(StorageError) {
        if let capacity = state.capacity, state.usedByteCount + UInt64(byteCount) > capacity {
            throw StorageError(.noSpace, "memory", "the store is full")
        }
    }

    static func insert(_ bytes: [UInt8], as key: ObjectKey, _ state: inout State) throws(StorageError) -> ObjectFacts {
        guard state.objects[key] == nil else {
            throw StorageError(.alreadyExists, key.string, "there is such an object")
        }
        state.counter += 1
        let object = Object(bytes: bytes, version: state.counter)
        state.objects[key] = object
        return facts(key, object)
    }

    private func object(_ key: ObjectKey) throws(StorageError) -> Object {
        try locked { state throws(StorageError) in
            guard let object = state.objects[key] else {
                throw StorageError(.absent, key.string, "there is no such object")
            }
            return object
        }
    }

    /// The clock is the count of changes: tests do not depend on time.
    private static func facts(_ key: ObjectKey, _ object: Object) -> ObjectFacts {
        ObjectFacts(
            key: key, byteCount: UInt64(object.bytes.count), modified: Int64(object.version),
            version: "\(object.version)")
    }
}

/// An upload's bytes live in the store, so that ``InMemoryStore/forgetUncompleted()`` takes them away.
final class InMemoryUpload: ObjectUpload {
    let identifier: String
    private let store: InMemoryStore
    private let key: ObjectKey

    init(store: InMemoryStore, key: ObjectKey, identifier: String) {
        self.store = store
        self.key = key
        self.identifier = identifier
    }

    deinit {
        abort()
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try store.locked { state throws(StorageError) in
            guard state.uploads[identifier] != nil else { throw over }
            do throws(StorageError) {
                try InMemoryStore.reserve(bytes.count, &state)
            } catch {
                state.uploads[identifier] = nil
                throw error
            }
            state.uploads[identifier]?.append(contentsOf: bytes)
        }
    }

    func append(copying key: ObjectKey, _ range: Range<UInt64>) throws(StorageError) {
        try append(reading: key, range, from: store)
    }

    func complete() throws(StorageError) -> ObjectFacts {
        try store.locked { state throws(StorageError) in
            guard let bytes = state.uploads.removeValue(forKey: identifier) else { throw over }
            return try InMemoryStore.insert(bytes, as: key, &state)
        }
    }

    func abort() {
        store.state.withLock { $0.uploads[identifier] = nil }
    }

    private var over: StorageError { StorageError(.changed, key.string, "the upload is over") }
}
