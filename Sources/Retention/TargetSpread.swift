/// Which backend a run goes to where the configuration says `random`.
package struct TargetSpread: Sendable, Hashable {
    package let name: String
    /// Runs that went there of late.
    package let recentRunCount: Int
    /// Its store answers.
    package let isAvailable: Bool

    package init(name: String, recentRunCount: Int, isAvailable: Bool) {
        self.name = name
        self.recentRunCount = recentRunCount
        self.isAvailable = isAvailable
    }

    /// The one that had the fewest runs, so that they are spread evenly over time; of equals one by chance, which `seed` is. nil where
    /// none is available.
    package static func choose(_ candidates: [TargetSpread], seed: UInt64) -> String? {
        let available = candidates.filter(\.isAvailable)
        guard let least = available.map(\.recentRunCount).min() else { return nil }
        let equals = available.filter { $0.recentRunCount == least }.sorted { $0.name < $1.name }
        return equals[Int(SplitMix64.mix(seed) % UInt64(equals.count))].name
    }
}
