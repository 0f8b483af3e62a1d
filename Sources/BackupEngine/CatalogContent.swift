internal import BackupNames
internal import Catalog
internal import CryptoPrimitives

/// What the catalog holds of an org, as the lines of a copy: the backups of all backends by name, then their checks and damage,
/// then the runs. Read page by page, so that neither memory nor a long transaction grows with the catalog; what changes
/// meanwhile is in it or not.
struct CatalogContent {
    private static let pageLimit = 500

    let catalog: Catalog
    let org: ResourceName

    func forEachBackup(_ body: (CatalogCopyLine) throws -> Void) throws {
        for backend in try catalog.backendsInUse() {
            var last: BackupIdentifier?
            repeat {
                let page = try catalog.copiedBackups(backend: backend, org: org, after: last, limit: Self.pageLimit)
                for backup in page { try body(.backup(backup)) }
                last = page.last?.identifier
            } while last != nil
        }
    }

    func forEachOfHistory(_ body: (CatalogCopyLine) throws -> Void) throws {
        for backend in try catalog.backendsInUse() {
            var last: BackupIdentifier?
            repeat {
                let page = try catalog.copiedHistory(backend: backend, org: org, after: last, limit: Self.pageLimit)
                for fact in page.facts { try body(.fact(fact)) }
                last = page.last
            } while last != nil
        }
        var row: Int64 = 0
        while true {
            let page = try catalog.copiedRuns(org: org, after: row, limit: Self.pageLimit)
            for run in page.runs { try body(.fact(.run(run))) }
            guard page.last > row else { return }
            row = page.last
        }
    }

    /// Calls `body` with all lines, and returns the digest of what it was given.
    func forEach(_ body: (CatalogCopyLine) throws -> Void) throws -> ContentDigest {
        var backups = SHA256Hasher()
        try forEachBackup { line in
            line.bytes.withUnsafeBytes { backups.update($0) }
            try body(line)
        }
        var history = SHA256Hasher()
        try forEachOfHistory { line in
            line.bytes.withUnsafeBytes { history.update($0) }
            try body(line)
        }
        return ContentDigest(backups: backups.finalize(), history: history.finalize())
    }
}

/// Tells whether a copy would be another than the last one, and in what.
struct ContentDigest: Equatable {
    let backups: SHA256Digest
    let history: SHA256Digest

    init(backups: SHA256Digest, history: SHA256Digest) {
        self.backups = backups
        self.history = history
    }

    /// As the catalog remembers it; nil for what cannot be one.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == 2 * SHA256Digest.byteCount else { return nil }
        backups = bytes[..<SHA256Digest.byteCount].withUnsafeBytes { SHA256Digest($0) }
        history = bytes[SHA256Digest.byteCount...].withUnsafeBytes { SHA256Digest($0) }
    }

    var bytes: [UInt8] { backups.bytes + history.bytes }
}

/// When a copy is due: a pure decision.
enum CopySchedule {
    /// Checks and runs change all the time, and are no loss by themselves: what they alone changed is copied once in so long.
    static let historySeconds: Int64 = 3600

    enum Decision: Equatable {
        case now
        /// The same was copied.
        case unchanged
        /// Only history changed, and the last copy is young.
        case later(seconds: Int64)
    }

    static func decide(last: CatalogCopyRecord?, _ digest: ContentDigest, now: Int64) -> Decision {
        guard let last, let copied = ContentDigest(last.contentSHA256) else { return .now }
        if copied == digest { return .unchanged }
        // A clock that was set back must not keep it for years.
        guard copied.backups == digest.backups, last.copiedAt <= now, now - last.copiedAt < historySeconds else {
            return .now
        }
        return .later(seconds: historySeconds - (now - last.copiedAt))
    }
}
