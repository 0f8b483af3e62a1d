/// How large each part of an upload is whose length nobody knows.
///
/// S3 takes 10,000 parts of 5 MiB to 5 GiB, and objects of 5 TiB. Parts start small, so that a small archive is sent while it
/// is made, and double every 1,000 parts: from 8 MiB on that reaches 5 TiB within 9,282 parts. A part is held in memory until it
/// is stored, so that it can be sent again; `limit` says how large one may get, and so how far the schedule reaches.
package struct PartSchedule: Sendable, Hashable {
    package static let maximumPartCount = 10_000
    package static let maximumObjectByteCount: UInt64 = 5 << 40
    /// Parts of one size.
    private static let step = 1000
    /// S3's least size of a part that is not the last, and the largest of any.
    package static let minimumPartByteCount = 5 << 20
    package static let maximumPartByteCount = 5 << 30

    package let firstByteCount: Int
    package let limit: Int

    package init(firstByteCount: Int, limit: Int) {
        let first = max(Self.minimumPartByteCount, min(firstByteCount, limit))
        self.firstByteCount = first
        self.limit = min(max(first, limit), Self.maximumPartByteCount)
    }

    /// The size of part `number`, from 1 on; nil when there can be no such part.
    package func byteCount(ofPart number: Int) -> Int? {
        guard 1...Self.maximumPartCount ~= number else { return nil }
        let doublings = (number - 1) / Self.step
        return min(limit, firstByteCount << doublings)
    }

    /// The longest object that the schedule reaches.
    package var reachByteCount: UInt64 {
        let sum = (1...Self.maximumPartCount).reduce(UInt64(0)) { $0 + UInt64(byteCount(ofPart: $1) ?? 0) }
        return min(sum, Self.maximumObjectByteCount)
    }
}
