internal import BackupNames
package import Catalog
package import Manifest

extension VerifiedManifest {
    /// The manifest as `manifest.json` and `show --json` give it: with the last check of each depth, and the
    /// end of its lock (`BackupSummary.lockEnd`).
    package func shown(_ checks: [CheckRecord], lockedUntil: String?) throws(ManifestError) -> [UInt8] {
        try Manifest.shown(
            json, lockedUntil: lockedUntil,
            checks: checks.map { check in
                ManifestCheck(
                    depth: check.depth.rawValue, outcome: check.outcome, detail: check.detail,
                    checkedAt: BackupDate(secondsSince1970: check.checkedAt).description,
                    goodAt: check.goodAt.map { BackupDate(secondsSince1970: $0).description })
            })
    }
}

extension BackupSummary {
    /// Until when its store keeps it, as far as is known: a date, or `legal hold`; nil where it is not locked.
    package var lockEnd: String? {
        lockedUntil.map { $0 == .max ? "legal hold" : BackupDate(secondsSince1970: $0).description }
    }
}

extension [CheckRecord] {
    /// The worst, or the deepest, in a few words: `raw 2026-11-22`, `BAD archive 2026-11-22`, `-`.
    package var summary: String {
        if let bad = BackupHealth.finding(self) {
            return "BAD \(bad.depth.rawValue) \(Self.day(bad.checkedAt))"
        }
        guard let deepest = last(where: { $0.goodAt != nil }), let goodAt = deepest.goodAt else { return "-" }
        return "\(deepest.depth.rawValue) \(Self.day(goodAt))"
    }

    private static func day(_ time: Int64) -> String {
        String(BackupDate(secondsSince1970: time).description.prefix(10))
    }
}
