internal import Retention

extension Configuration.Prices {
    init(_ table: ConfigurationTable) throws(ConfigurationError) {
        try table.allow(["backup", "snapshot"])
        self.init()
        backup = try table.optionalPrice("backup") ?? backup
        snapshot = try table.optionalPrice("snapshot") ?? snapshot
    }
}

extension ConfigurationTable {
    /// Euros of a terabyte and month, such as 35 or 6.99, to the cent.
    func optionalPrice(_ key: String) throws(ConfigurationError) -> Price? {
        guard let text = try optionalNumberText(key) else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let isDigits = parts.allSatisfy { part in
            !part.isEmpty && part.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        }
        guard isDigits, (1...2).contains(parts.count), let euros = Int(parts[0]), euros <= 1_000_000,
            parts.count == 1 || parts[1].utf8.count <= 2
        else {
            throw error(.invalidValue, key, "must be euros of a terabyte and month such as 35 or 6.99")
        }
        let cents = parts.count == 1 ? 0 : Int(parts[1] + (parts[1].utf8.count == 1 ? "0" : "")) ?? 0
        return Price(centsPerTerabyteMonth: euros * 100 + cents)
    }
}
