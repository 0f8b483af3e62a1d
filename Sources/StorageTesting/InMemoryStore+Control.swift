package import Storage
internal import Synchronization

extension InMemoryStore {
    /// Pages hold at most this many objects, whatever is asked for.
    package func limitPages(to count: Int) {
        state.withLock { $0.maximumPageCount = count }
    }

    /// While false, every call throws `.unavailable`.
    package func setAvailable(_ isAvailable: Bool) {
        state.withLock { $0.isAvailable = isAvailable }
    }

    /// Objects can be locked, and nobody can remove one before its time; the time is this.
    package func setLockClock(_ now: Int64) {
        state.withLock { $0.lockClock = now }
    }

    /// What a crash does: uploads under way are gone, and their handles fail with `.changed`.
    package func forgetUncompleted() {
        state.withLock { $0.uploads = [:] }
    }

    /// Identifiers of uploads that were neither completed nor aborted.
    package var uploadIdentifiers: [String] {
        state.withLock { $0.uploads.keys.sorted() }
    }

    package var keys: [ObjectKey] {
        state.withLock { $0.objects.keys.sorted() }
    }

    package func bytes(of key: ObjectKey) -> [UInt8]? {
        state.withLock { $0.objects[key]?.bytes }
    }

    /// Puts bytes in place of an object, which no caller of the contract can: damage, or an attacker.
    package func tamper(_ key: ObjectKey, _ bytes: [UInt8]) {
        state.withLock { state in
            state.counter += 1
            state.objects[key] = Object(bytes: bytes, version: state.counter)
        }
    }
}
