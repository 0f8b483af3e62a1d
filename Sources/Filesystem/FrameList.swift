internal import Workers

/// A decoded frame in the cache. Lives under the cache's lock only.
final class CachedFrame {
    /// How the frame was used so far.
    enum Segment: Int {
        /// A sequential reader has read it to its end: goes first.
        case spent
        /// Used once, or read ahead and not used yet.
        case probation
        /// Used again later: goes last.
        case protected
    }

    let key: FrameCache.Key
    let buffer: Buffer
    var segment = Segment.probation
    /// Read ahead, and nobody has used it yet.
    var isUnread: Bool
    fileprivate var newer: CachedFrame?
    fileprivate unowned(unsafe) var older: CachedFrame?

    init(key: FrameCache.Key, buffer: Buffer, isUnread: Bool) {
        self.key = key
        self.buffer = buffer
        self.isUnread = isUnread
    }

    var byteCount: Int { buffer.bytes.count }
}

/// Frames in the order of their use, linked through themselves: every operation is a few stores.
struct FrameList {
    private(set) var oldest: CachedFrame?
    private(set) unowned(unsafe) var newest: CachedFrame?
    private(set) var byteCount = 0

    mutating func append(_ frame: CachedFrame) {
        frame.older = newest
        frame.newer = nil
        if let newest { newest.newer = frame } else { oldest = frame }
        newest = frame
        byteCount += frame.byteCount
    }

    /// As the next one to go.
    mutating func prepend(_ frame: CachedFrame) {
        frame.older = nil
        frame.newer = oldest
        if let oldest { oldest.older = frame } else { newest = frame }
        oldest = frame
        byteCount += frame.byteCount
    }

    mutating func remove(_ frame: CachedFrame) {
        let older = frame.older
        let newer = frame.newer
        if let older { older.newer = newer } else { oldest = newer }
        if let newer { newer.older = older } else { newest = older }
        frame.newer = nil
        frame.older = nil
        byteCount -= frame.byteCount
    }
}
