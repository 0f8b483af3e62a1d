/// A check of the backup, as it is shown beside the manifest.
package struct ManifestCheck: Sendable, Hashable {
    package let depth: String
    /// `good`, or the code of what was found.
    package let outcome: String
    package let detail: String
    /// ISO 8601, as dates of backups are written.
    package let checkedAt: String
    package let goodAt: String?

    package init(depth: String, outcome: String, detail: String, checkedAt: String, goodAt: String?) {
        self.depth = depth
        self.outcome = outcome
        self.detail = detail
        self.checkedAt = checkedAt
        self.goodAt = goodAt
    }
}

extension Manifest {
    /// The sealed manifest as it is shown: with what is known of the backup since, in the members `checks` and, where its store has
    /// locked it, `locked_until`. They are not covered by the MAC, and not there in any sealed manifest: taking them away gives the
    /// sealed one.
    package static func shown(
        _ sealed: [UInt8], lockedUntil: String? = nil, checks: [ManifestCheck]
    ) throws(ManifestError) -> [UInt8] {
        guard case .object(var members) = try CanonicalJSONParser.parse(sealed) else {
            throw ManifestError(.malformed, "the manifest is not an object")
        }
        if let lockedUntil { members["locked_until"] = .string(lockedUntil) }
        members["checks"] = .array(
            checks.map { check in
                var values: [String: CanonicalJSON] = [
                    "depth": .string(check.depth), "outcome": .string(check.outcome),
                    "checked_at": .string(check.checkedAt),
                ]
                if let goodAt = check.goodAt { values["good_at"] = .string(goodAt) }
                if !check.detail.isEmpty { values["detail"] = .string(check.detail) }
                return .object(values)
            })
        return CanonicalJSON.object(members).prettyBytes
    }
}
