internal import Synchronization

/// One read of a store: a run of frames, some of which are to be had. Frames between them (holes) come along.
final class FetchRequest: Sendable {
    let disk: OpenDisk
    let stored: Range<UInt64>
    let flights: [FrameFlight]
    /// Made for a read that waits, not ahead of one.
    let isDemand: Bool
    private let hasBegun = Atomic(false)

    init(_ flights: [FrameFlight], of disk: OpenDisk, isDemand: Bool) {
        self.disk = disk
        self.flights = flights
        self.isDemand = isDemand
        let frames = flights.map(\.key.frame)
        precondition(!frames.isEmpty, "internal error: a request for nothing")
        stored = disk.content.storedRange(ofFrames: frames[0]...frames[frames.count - 1])
    }

    /// True once: a request that was queued again to overtake others is in the queue twice.
    func begin() -> Bool { !hasBegun.exchange(true, ordering: .acquiringAndReleasing) }

    var hasParked: Bool { flights.contains { $0.isParked } }
}

/// Fetched and not yet decoded. Its memory goes back when the last of its frames is decoded or dropped.
final class Ciphertext: Sendable {
    private let stored: Range<UInt64>
    private let memory: FetchMemory.Block

    init(_ stored: Range<UInt64>, _ memory: FetchMemory.Block) {
        self.stored = stored
        self.memory = memory
    }

    /// The bytes of a smaller range that lies within this one.
    func part(_ part: Range<UInt64>) -> UnsafeRawBufferPointer {
        let start = Int(part.lowerBound - stored.lowerBound)
        return UnsafeRawBufferPointer(rebasing: memory.bytes[start..<start + part.count])
    }
}
