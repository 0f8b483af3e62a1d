internal import Synchronization
internal import SystemIO

/// An object's file, open for reading, with what the path named when it was opened.
final class OpenObject: Sendable {
    let file: OwnedFile
    let facts: FileFacts

    init(opening path: String) throws(Errno) {
        // Non-blocking, for somebody may have put a pipe there.
        file = try OwnedFile(opening: path, for: .read, options: [.noFollow, .nonBlocking])
        facts = try file.facts()
    }
}

/// The most recently read objects' open files: at most `capacity`, the least recently used goes first.
///
/// An entry keeps the space of an object that another process deleted; ``dropRemoved()`` lets go of those.
final class OpenObjectCache: Sendable {
    private struct Entry {
        let object: OpenObject
        var lastUse: UInt64
    }

    private struct State {
        var entries: [ObjectKey: Entry] = [:]
        var clock: UInt64 = 0
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) {
        self.capacity = capacity
    }

    func object(for key: ObjectKey) -> OpenObject? {
        state.withLock { state in
            guard let object = state.entries[key]?.object else { return nil }
            state.clock += 1
            state.entries[key]?.lastUse = state.clock
            return object
        }
    }

    /// The last one to insert wins; readers of the other file keep it open until they are done.
    func insert(_ object: OpenObject, for key: ObjectKey) {
        // Files are closed after the lock is released: close(2) may block.
        let dropped: OpenObject? = state.withLock { state in
            state.clock += 1
            var dropped = state.entries.updateValue(Entry(object: object, lastUse: state.clock), forKey: key)?.object
            if state.entries.count > capacity,
                let oldest = state.entries.min(by: { $0.value.lastUse < $1.value.lastUse })
            {
                dropped = state.entries.removeValue(forKey: oldest.key)?.object
            }
            return dropped
        }
        withExtendedLifetime(dropped) {}
    }

    func remove(_ key: ObjectKey) {
        let dropped = state.withLock { $0.entries.removeValue(forKey: key) }
        withExtendedLifetime(dropped) {}
    }

    /// Closes files that have no name any more, so that their space is free.
    func dropRemoved() {
        let objects = state.withLock { state in state.entries.map { ($0.key, $0.value.object) } }
        for (key, object) in objects {
            if let facts = try? object.file.facts(), facts.linkCount > 0 { continue }
            state.withLock { state in
                if state.entries[key]?.object === object { state.entries[key] = nil }
            }
        }
    }

    var count: Int { state.withLock { $0.entries.count } }
}
