internal import Glibc
package import Storage
internal import Synchronization

extension FaultInjectingStore {
    /// Operation `index` (from 0, counted from now on, among those of kind `operation` or among all) fails.
    package func failOperation(
        _ index: Int, of operation: Operation? = nil, _ persistence: Persistence = .once,
        _ moment: Moment = .beforeEffect, with code: StorageError.Code = .unavailable,
        action: (@Sendable () -> Void)? = nil
    ) {
        state.withLock { state in
            state.faults.append(
                Fault(
                    index: index, operation: operation, persistence: persistence, moment: moment, code: code,
                    action: action))
        }
    }

    /// The faults that came since they were set. 0 at the end of a run says that a fault loop is through.
    package var faultCount: Int {
        state.withLock { state in state.faults.reduce(0) { $0 + $1.hits } }
    }

    /// No more faults, delays or flipped bits; the counts stay.
    package func heal() {
        state.withLock { state in
            state.faults = []
            state.delays = [:]
            state.flips = []
        }
    }

    /// Runs `action` once, on the caller's thread, when operation `index` of this kind (counted from now on) has had its
    /// effect, and before its caller knows.
    package func afterOperation(_ index: Int, of operation: Operation, _ action: @escaping @Sendable () -> Void) {
        state.withLock {
            $0.events.append(FaultInjectingStore.Event(index: index, operation: operation, action: action))
        }
    }

    /// From now on the last byte of a range that is copied into an upload comes over with a bit inverted.
    package func corruptCopies(_ corrupts: Bool) { state.withLock { $0.corruptsCopies = corrupts } }

    /// Every operation of this kind takes at least this long.
    package func delay(_ operation: Operation, by duration: Duration) {
        state.withLock { $0.delays[operation] = duration }
    }

    /// Reads that cover the byte at `offset` get it with this bit (0 to 7) inverted.
    package func flipBit(_ bit: UInt8, at offset: UInt64, of key: ObjectKey) {
        state.withLock { $0.flips.append((key, offset, bit)) }
    }

    package func count(of operation: Operation) -> Int {
        state.withLock { $0.counts[operation] ?? 0 }
    }

    package var operationCount: Int {
        state.withLock { state in state.counts.values.reduce(0, +) }
    }

    package var readByteCount: UInt64 {
        state.withLock { $0.readByteCount }
    }

    package func resetCounts() {
        state.withLock { state in
            state.counts = [:]
            state.readByteCount = 0
        }
    }

    func sleep(for duration: Duration) {
        let (seconds, attoseconds) = duration.components
        var time = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        var rest = timespec()
        while nanosleep(&time, &rest) != 0 && errno == EINTR { time = rest }
    }
}

extension FaultInjectingStore.State {
    mutating func takeActions(_ operation: FaultInjectingStore.Operation) -> [@Sendable () -> Void] {
        var actions: [@Sendable () -> Void] = []
        for position in events.indices where events[position].operation == operation {
            events[position].seen += 1
            if events[position].seen == events[position].index + 1 { actions.append(events[position].action) }
        }
        return actions
    }

    mutating func begin(
        _ operation: FaultInjectingStore.Operation
    ) -> (fault: FaultInjectingStore.Fault?, delay: Duration?) {
        counts[operation, default: 0] += 1
        var fault: FaultInjectingStore.Fault?
        for position in faults.indices where faults[position].operation.map({ $0 == operation }) ?? true {
            let candidate = faults[position]
            faults[position].seen += 1
            let comes =
                switch candidate.persistence {
                case .once: candidate.seen == candidate.index
                case .forGood: candidate.seen >= candidate.index
                }
            if comes, fault == nil {
                fault = candidate
                faults[position].hits += 1
            }
        }
        return (fault, delays[operation])
    }
}
