internal import Storage
internal import Workers

/// One publication of a key at a time in this process: what holds "never replaced" together where the server cannot.
final class KeyLocks: Sendable {
    private let held = Monitor<Set<ObjectKey>>([])

    func withLock<Result>(
        _ key: ObjectKey, _ body: () throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        held.wait { $0.insert(key).inserted ? () : nil }
        defer { held.withLock { _ = $0.remove(key) } }
        return try body()
    }
}
