internal import Synchronization

/// What the cache says of itself, for `status.json` and the log. Counters count since the start of the process.
package struct RangeCacheStatus: Sendable, Hashable {
    package enum State: Sendable, Hashable {
        /// The capacity is 0, or too small for a single slot.
        case off
        /// The index is being read; until then every read is a miss.
        case opening
        case on
        /// Not in use for now, and tried again after a while: the disk hangs or fails, or another process has the cache.
        case suspended(String)
        case closed
    }

    package var state: State
    package var capacityByteCount: UInt64
    /// What may lie in all slots together, and how many slots hold anything.
    package var slotByteCount: UInt64
    package var slotCount: Int
    package var usedSlotCount: Int
    /// Reads served from the disk alone, in part, not at all.
    package var hitCount: UInt64
    package var partialHitCount: UInt64
    package var missCount: UInt64
    package var servedByteCount: UInt64
    package var insertedByteCount: UInt64
    /// Whole blocks that had to go for others, for the free-space floor or a smaller capacity.
    package var evictedByteCount: UInt64
    /// Blocks and entries that failed their checksum or the AEAD.
    package var badBlockCount: UInt64
    package var timeoutCount: UInt64
    /// Failed operations of the cache's disk.
    package var diskErrorCount: UInt64
    /// Ranges not stored: the queue was full, the disk is, or the cache was not in use.
    package var droppedInsertCount: UInt64
}

/// The counters behind the status.
final class RangeCacheCounters: Sendable {
    let hits = Atomic<UInt64>(0)
    let partialHits = Atomic<UInt64>(0)
    let misses = Atomic<UInt64>(0)
    let servedBytes = Atomic<UInt64>(0)
    let insertedBytes = Atomic<UInt64>(0)
    let evictedBytes = Atomic<UInt64>(0)
    let badBlocks = Atomic<UInt64>(0)
    let timeouts = Atomic<UInt64>(0)
    let diskErrors = Atomic<UInt64>(0)
    let droppedInserts = Atomic<UInt64>(0)

    func evicted(blocks: UInt64) {
        evictedBytes.add(UInt64(blocks.nonzeroBitCount * CacheGeometry.blockByteCount))
    }
}

extension Atomic<UInt64> {
    func add(_ value: UInt64) { wrappingAdd(value, ordering: .relaxed) }
    var value: UInt64 { load(ordering: .relaxed) }
}
