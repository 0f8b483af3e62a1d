package import Catalog

/// Whether a backup is good, as far as its checks have shown.
package enum BackupHealth {
    /// What the last checks found wrong with a backup; nil for a good one, and for one that nobody has looked at.
    ///
    /// The last check of each depth counts, unless a later one that looked at no less found nothing wrong. A check that could
    /// not be made (a backend that was away, a key that was missing) says nothing of the backup.
    package static func finding(_ checks: [CheckRecord]) -> CheckRecord? {
        checks.filter { check in
            guard condemns(check.outcome) else { return false }
            return !checks.contains { $0.depth >= check.depth && ($0.goodAt ?? .min) > check.checkedAt }
        }.max { $0.checkedAt < $1.checkedAt }
    }

    /// The newest check of the archive or of all of it that found nothing wrong, seconds since 1970.
    package static func verifiedAt(_ checks: [CheckRecord]) -> Int64? {
        checks.filter { $0.depth >= .archive }.compactMap(\.goodAt).max()
    }

    /// An outcome that this version does not know is taken for a bad one.
    private static func condemns(_ outcome: String) -> Bool {
        guard outcome != CheckRecord.good else { return false }
        return EngineError.Code(rawValue: outcome)?.condemnsBackup ?? true
    }
}

extension EngineError.Code {
    /// Whether it is about the backup itself, not about the way to it or who looked at it.
    package var condemnsBackup: Bool {
        switch self {
        case .notFound, .notAuthentic, .swapped, .damaged, .truncated, .sidecarMissing, .wrongKey: true
        case .invalidName, .alreadyExists, .noKey, .badKeyFile, .keyInUse, .catalog, .backendUnavailable,
            .backendTimedOut,
            .backendDenied, .backendFull, .source, .emptyImage, .incompleteImage, .target, .targetInUse,
            .targetTooSmall, .busy, .cancelled, .noRoom, .held:
            false
        }
    }
}
