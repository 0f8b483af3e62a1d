internal import AgeFormat
internal import Catalog
internal import CryptoPrimitives
internal import OrgKeys
internal import Storage

/// Which refused sidecars are remembered, and when one is looked at again: pure decisions.
enum RefusalMemory {
    /// An archive that is not there may be on its way: a replicated bucket copies small objects first.
    private static let absentSeconds: Int64 = 3600
    /// Everything else that was wrong stays wrong until something changes; in case that was a mistake of ours, a day.
    private static let otherSeconds: Int64 = 86_400

    /// What a refusal depends on beside the object: the identities that were tried. nil for a key that reads nothing. To be asked for once,
    /// not for each of a million objects.
    static func fingerprint(of key: OrgKey) -> String? {
        guard key.canRead else { return nil }
        let recipients = key.identities.map(\.recipient.string).joined(separator: " ")
        return String(SHA256Hasher.digest(of: Array(recipients.utf8)).hexadecimal.prefix(16))
    }

    /// What is remembered of an object: a refusal stands as long as that is the same.
    static func version(of facts: ObjectFacts, tried fingerprint: String) -> String {
        "\(facts.version) \(fingerprint)"
    }

    static func isDue(_ refusal: RefusedSidecar, version: String, now: Int64) -> Bool {
        guard refusal.version == version else { return true }
        let seconds =
            refusal.detail.hasPrefix(EngineError.Code.notFound.rawValue + ":") ? absentSeconds : otherSeconds
        // A clock that was set back must not keep it for years.
        return now >= refusal.refusedAt + seconds || now < refusal.refusedAt
    }

    /// What is written down of a refusal; nil where it says nothing about the sidecar: the backend was away, the catalog was
    /// busy, the object was replaced while it was read.
    static func refusal(_ error: EngineError, of key: ObjectKey, version: String, now: Int64) -> RefusedSidecar? {
        switch error.code {
        case .notAuthentic, .wrongKey, .swapped, .damaged, .truncated, .sidecarMissing, .invalidName, .notFound: break
        case .alreadyExists, .noKey, .badKeyFile, .keyInUse, .catalog, .backendUnavailable, .backendTimedOut,
            .backendDenied,
            .backendFull, .source, .emptyImage, .incompleteImage, .target, .targetInUse, .targetTooSmall, .busy,
            .cancelled, .noRoom, .held:
            return nil
        }
        if let cause = error.cause as? StorageError, cause.code != .absent { return nil }
        return RefusedSidecar(
            manifestKey: key.string, version: version, refusedAt: now, detail: "\(error.code.rawValue): \(error)")
    }
}
