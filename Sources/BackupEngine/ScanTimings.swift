internal import Synchronization

/// How long the stages of a scan were busy, all threads together; they run side by side, so the sum may exceed the time it took.
package struct ScanTimings: Sendable, Hashable {
    package let fetch: Duration
    package let decode: Duration
    /// Until whoever was handed the image was done with it.
    package let write: Duration
    package let fetchedByteCount: UInt64
}

/// Time that several threads add up.
final class BusyTime: Sendable {
    private let nanoseconds = Atomic<Int64>(0)

    func add(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        nanoseconds.add(seconds * 1_000_000_000 + attoseconds / 1_000_000_000, ordering: .relaxed)
    }

    func measuring<Value>(_ body: () throws -> Value) rethrows -> Value {
        let start = ContinuousClock.now
        defer { add(ContinuousClock.now - start) }
        return try body()
    }

    var duration: Duration { .nanoseconds(nanoseconds.load(ordering: .relaxed)) }
}

final class ScanClock: Sendable {
    let fetch = BusyTime()
    let decode = BusyTime()
    let write = BusyTime()
    private let fetchedByteCount = Atomic<UInt64>(0)

    func addFetched(_ count: Int) { fetchedByteCount.add(UInt64(count), ordering: .relaxed) }

    var timings: ScanTimings {
        ScanTimings(
            fetch: fetch.duration, decode: decode.duration, write: write.duration,
            fetchedByteCount: fetchedByteCount.load(ordering: .relaxed))
    }
}
