/// Which parts of a stretch of an image have to be read: one answer for each granule.
///
/// A granule is zero only when everything in it was said to be. It takes a byte for 64 KiB, however fragmented the disk is.
struct AllocationMap {
    /// 64 KiB, the cluster of qcow2 and what few servers go below; a smaller hole is read.
    private static let largestGranule: UInt64 = 64 << 10
    /// How much is asked for at once: 16 KiB of memory, and an answer in far less time than it takes to hash it.
    private static let stretchByteCount: UInt64 = 1 << 30

    let range: Range<UInt64>
    private let granule: UInt64
    private var isData: [Bool]
    /// Up to where somebody has said something.
    private(set) var notedEnd: UInt64

    /// Nothing is known of `range` yet, which starts at a frame and is not empty.
    init(_ range: Range<UInt64>, frameByteCount: Int) {
        self.range = range
        granule = min(UInt64(frameByteCount), Self.largestGranule)
        isData = Array(repeating: false, count: Int((range.upperBound - range.lowerBound + granule - 1) / granule))
        notedEnd = range.lowerBound
    }

    /// The stretch that begins at `offset`: whole frames, or up to the end of the image.
    static func stretch(at offset: UInt64, frameByteCount: Int, imageByteCount: UInt64) -> Range<UInt64> {
        let frame = UInt64(frameByteCount)
        let length = max(frame, stretchByteCount / frame * frame)
        return offset..<min(imageByteCount, offset + length)
    }

    var isComplete: Bool { notedEnd == range.upperBound }

    /// The next so many bytes are zeros or data. What goes beyond the range is ignored.
    mutating func note(_ byteCount: UInt64, isZero: Bool) {
        let end = notedEnd + min(byteCount, range.upperBound - notedEnd)
        if !isZero, end > notedEnd {
            for index in Int((notedEnd - range.lowerBound) / granule)...Int((end - 1 - range.lowerBound) / granule) {
                isData[index] = true
            }
        }
        notedEnd = end
    }

    /// Somebody else is asked, from the start: what anybody has called data stays so.
    mutating func beginAgain() { notedEnd = range.lowerBound }

    /// Nobody can tell: the rest is read.
    mutating func noteRestAsData() { note(range.upperBound - notedEnd, isZero: false) }

    /// How many bytes of zeros begin at `offset`; whole granules, or up to the end of the range.
    func zeroByteCount(at offset: UInt64) -> UInt64 { runEnd(at: offset, ofData: false) - offset }

    /// The end of what is of one kind at `offset`, which is in the range.
    func runEnd(at offset: UInt64, ofData: Bool) -> UInt64 {
        var index = Int((offset - range.lowerBound) / granule)
        guard isData[index] == ofData else { return offset }
        while index < isData.count, isData[index] == ofData { index += 1 }
        return min(range.upperBound, range.lowerBound + UInt64(index) * granule)
    }
}
