package import Manifest

/// Where lost raw bytes lie, as somebody who has to decide what to do about them wants to know.
package struct LostRange: Sendable, Hashable {
    package let rawRange: Range<UInt64>
    /// The partition's number in the image; nil outside of all partitions.
    package let partition: Int?
    package let partitionName: String
    /// The offset in the partition; in the image where there is none.
    package let offset: UInt64

    /// Cuts what is damaged and not healed at the borders of partitions; neighbours in one partition become one range.
    package static func list(of damage: [ArchiveDamage], _ partitions: [ManifestPartition]) -> [LostRange] {
        var ranges: [Range<UInt64>] = []
        for range in damage.filter({ !$0.isHealed }).map(\.rawRange).filter({ !$0.isEmpty })
            .sorted(by: { $0.lowerBound < $1.lowerBound })
        {
            if let last = ranges.last, range.lowerBound <= last.upperBound {
                ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                ranges.append(range)
            }
        }
        return ranges.flatMap { cut($0, partitions) }
    }

    private static func cut(_ range: Range<UInt64>, _ partitions: [ManifestPartition]) -> [LostRange] {
        // The ends come from the manifest, whose partitions lie inside the image.
        let spans = partitions.map { ($0, $0.rawOffset..<$0.rawOffset &+ $0.byteCount) }
        let borders = spans.flatMap { [$0.1.lowerBound, $0.1.upperBound] }.filter { range.contains($0) }
        let edges = Set([range.lowerBound, range.upperBound] + borders).sorted()
        return zip(edges, edges.dropFirst()).map { start, end in
            // An extended partition encloses others: the innermost says most.
            let inside = spans.filter { $0.1.contains(start) }.min { $0.1.count < $1.1.count }
            return LostRange(
                rawRange: start..<end, partition: inside?.0.number, partitionName: inside?.0.name ?? "",
                offset: start - (inside?.1.lowerBound ?? 0))
        }
    }
}
