/// The seek table as a map of holes: what `lseek` with SEEK_DATA and SEEK_HOLE asks.
extension SeekTable {
    /// Whether a frame is a canonical zero frame: told from its entry alone.
    package func isZeroFrame(_ index: Int) -> Bool { Self.isZeroFrame(entries[index]) }

    static func isZeroFrame(_ entry: Entry) -> Bool {
        let size = Int(entry.rawByteCount)
        return ZeroFrame.exists(rawByteCount: size) && entry == ZeroFrame.entry(rawByteCount: size)
    }

    /// The first raw offset from `offset` on that holds data; nil where there is only a hole left.
    package func nextData(at offset: UInt64) -> UInt64? {
        guard offset < rawByteCount else { return nil }
        let index = frameIndex(containingRawOffset: offset)
        guard isZeroFrame(index) else { return offset }
        return startOfNextRun(after: index).map { rawRange(ofFrame: $0).lowerBound }
    }

    /// The first raw offset from `offset` on that lies in a hole; the end of the image counts as one.
    package func nextHole(at offset: UInt64) -> UInt64 {
        guard offset < rawByteCount else { return rawByteCount }
        let index = frameIndex(containingRawOffset: offset)
        guard !isZeroFrame(index) else { return offset }
        return startOfNextRun(after: index).map { rawRange(ofFrame: $0).lowerBound } ?? rawByteCount
    }

    /// The first frame behind `index` of the other kind; nil where there is none.
    private func startOfNextRun(after index: Int) -> Int? {
        var low = 0
        var high = runStarts.count
        while low < high {
            let middle = (low + high) / 2
            if Int(runStarts[middle]) > index { high = middle } else { low = middle + 1 }
        }
        return low < runStarts.count ? Int(runStarts[low]) : nil
    }
}
