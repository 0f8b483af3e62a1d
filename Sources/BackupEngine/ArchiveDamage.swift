internal import Synchronization

/// A stretch of an archive whose bytes are wrong or cannot be had, and what that costs.
package struct ArchiveDamage: Sendable, Hashable {
    package let archiveRange: Range<UInt64>
    /// nil where no frame is concerned: the header, the seek table.
    package let frame: Int?
    /// The raw bytes that are lost with it; empty where none are, as in a hole, whose content is known.
    package let rawRange: Range<UInt64>
    package let detail: String
    /// Another copy of the archive has these bytes, and they were taken from there.
    package let isHealed: Bool

    package init(
        archiveRange: Range<UInt64>, frame: Int?, rawRange: Range<UInt64>, detail: String, isHealed: Bool = false
    ) {
        self.archiveRange = archiveRange
        self.frame = frame
        self.rawRange = rawRange
        self.detail = detail
        self.isHealed = isHealed
    }
}

/// What has gone wrong in a scan that goes on past it, in the order of the archive at the end.
final class DamageList: Sendable {
    /// No more are told apart: an archive that has nothing to do with its backup has one for each frame.
    static let limit = 10_000

    private let found = Mutex<(list: [ArchiveDamage], lostByteCount: UInt64)>(([], 0))

    func add(_ damage: ArchiveDamage) {
        found.withLock { found in
            if !damage.isHealed { found.lostByteCount += UInt64(damage.rawRange.count) }
            if found.list.count < Self.limit { found.list.append(damage) }
        }
    }

    /// Raw bytes that no copy has.
    var lostByteCount: UInt64 { found.withLock { $0.lostByteCount } }

    var sorted: [ArchiveDamage] {
        found.withLock { $0.list }.sorted {
            ($0.archiveRange.lowerBound, $0.rawRange.lowerBound) < ($1.archiveRange.lowerBound, $1.rawRange.lowerBound)
        }
    }
}
