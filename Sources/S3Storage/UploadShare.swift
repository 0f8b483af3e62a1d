package import Workers

/// What the uploads to one store may have of the memory that all uploads have in common: a store that is away, with its parts
/// waiting for it, leaves the rest to the others.
package final class UploadShare: Sendable {
    /// Memory of a part; counts until the last reference is gone.
    final class Part: Sendable {
        let buffer: Buffer
        private let byteCount: Int
        private let share: UploadShare

        fileprivate init(_ buffer: Buffer, _ byteCount: Int, of share: UploadShare) {
            self.buffer = buffer
            self.byteCount = byteCount
            self.share = share
        }

        deinit { share.used.withLock { $0 -= byteCount } }
    }

    let limitByteCount: Int
    let common: BufferPool
    private let used = Monitor(0)

    /// `isOnlyOne`: there is no other store to leave anything to.
    package init(of common: BufferPool, isOnlyOne: Bool) {
        self.common = common
        limitByteCount = isOnlyOne ? common.capacityByteCount : common.capacityByteCount / 3 * 2
    }

    /// The largest part: a second one can be filled while it is sent, or another store have one.
    var partLimitByteCount: Int { common.capacityByteCount / 2 }

    /// nil when none came free for so long.
    func take(byteCount: Int, milliseconds: Int) -> Part? {
        let limit = limitByteCount
        let isFree: Void? = used.wait(milliseconds: milliseconds) { used in
            guard used + byteCount <= limit else { return nil }
            used += byteCount
            return ()
        }
        guard isFree != nil else { return nil }
        guard let buffer = common.waitForReturn(byteCount: byteCount, milliseconds: milliseconds) else {
            used.withLock { $0 -= byteCount }
            return nil
        }
        return Part(buffer, byteCount, of: self)
    }
}
