package import BackupNames
internal import Catalog
internal import Logging
internal import OrgKeys
internal import Storage
internal import Synchronization
internal import Workers

/// What restoring an org's part of the catalog from copies brought.
package struct CatalogRestoreResult: Sendable {
    private static let refusalLimit = 1000

    package let org: ResourceName
    /// The copies it was taken from: of each catalog the newest that is authentic.
    package fileprivate(set) var copies: [ListedCopy] = []
    /// Copies that are not: the next older one was tried.
    package fileprivate(set) var refusedCopies: [(copy: ListedCopy, error: EngineError)] = []
    package fileprivate(set) var registered: [BackupIdentifier] = []
    package fileprivate(set) var known: [BackupIdentifier] = []
    /// Rows whose archives do not prove right, or are gone; the first of them.
    package fileprivate(set) var refused: [(name: String, error: EngineError)] = []
    package fileprivate(set) var refusedCount = 0
    /// Rows of backends that are not configured here, by name.
    package fileprivate(set) var elsewhere: [ResourceName: Int] = [:]
    /// Checks, damage and runs that were not known.
    package fileprivate(set) var historyCount = 0

    init(org: ResourceName) { self.org = org }

    fileprivate mutating func refuse(_ name: String, _ error: EngineError) {
        refusedCount += 1
        if refused.count < Self.refusalLimit { refused.append((name, error)) }
    }
}

/// The catalog from its copies: nothing is believed that is not sealed under the org's key, and no row comes in whose archive
/// does not prove right.
extension Engine {
    /// Copies of one catalog that are tried, the newest first.
    private static let copyAttempts = 8
    private static let batchCount = 500

    /// Takes in what the newest authentic copy of each catalog of an org holds. Nothing is removed; what is in the catalog stays.
    ///
    /// Of each backup the header in the copy is compared with its manifest, and the size and the end of its archive are read, which
    /// are authentic under that header alone. Throws when none of the backends can be listed, or the org's key does not read.
    package func restoreCatalog(
        of org: ResourceName, from backends: [Backend]
    ) throws(EngineError) -> CatalogRestoreResult {
        let key = try readingKey(of: org)
        var result = CatalogRestoreResult(org: org)
        var copies: [String: [(copy: ListedCopy, backend: Backend)]] = [:]
        var failure: EngineError?
        var isListed = false
        var away: Set<ResourceName> = []
        for backend in backends {
            do throws(EngineError) {
                for copy in try catalogCopies(of: org, at: backend) {
                    copies[copy.name.origin, default: []].append((copy, backend))
                }
                isListed = true
            } catch {
                log.warning("\(error)")
                failure = failure ?? error
            }
        }
        if let failure, !isListed { throw failure }
        do {
            for origin in copies.keys.sorted() {
                let newestFirst = (copies[origin] ?? []).sorted { $1.copy.name.date < $0.copy.name.date }
                try restore(newestFirst.prefix(Self.copyAttempts), key, away: &away, &result)
            }
        } catch {
            throw EngineError(error, subject: "the catalog of org \"\(org)\"")
        }
        return result
    }

    /// Takes the first of these that is authentic.
    private func restore(
        _ copies: some Sequence<(copy: ListedCopy, backend: Backend)>, _ key: OrgKey, away: inout Set<ResourceName>,
        _ result: inout CatalogRestoreResult
    ) throws {
        for (copy, backend) in copies where !away.contains(backend.name) {
            let frame: [UInt8]
            let head: CatalogCopyHead
            do {
                frame = try read(copy, at: backend, key)
                head = try Self.head(of: frame, copy)
            } catch {
                let failure = EngineError(error, subject: "\(copy.key)")
                // An older copy there would only take as long; what another backend has may be older too, and is tried.
                if isOutage(failure, of: backend) { away.insert(backend.name) }
                result.refusedCopies.append((copy, failure))
                continue
            }
            try takeIn(frame, head, from: backend, &result)
            result.copies.append(copy)
            return
        }
    }

    private func read(_ copy: ListedCopy, at backend: Backend, _ key: OrgKey) throws -> [UInt8] {
        // Header and tags of age take less than a tenth.
        guard copy.byteCount <= UInt64(CatalogCopyFile.maximumByteCount) * 11 / 10 else {
            throw EngineError(.notAuthentic, "the copy has \(copy.byteCount) bytes")
        }
        var bytes = [UInt8](repeating: 0, count: Int(copy.byteCount))
        try bytes.withUnsafeMutableBytes { try backend.store.read(copy.key, at: 0, into: $0) }
        return try CatalogCopyFile.open(bytes, key: key)
    }

    private struct HeadIsRead: Error {}

    /// The first line, which must be about this very copy: an older one under a newer name is refused.
    private static func head(of frame: [UInt8], _ copy: ListedCopy) throws -> CatalogCopyHead {
        var head: CatalogCopyHead?
        do {
            try CatalogCopyFile.forEachLine(frame) { line in
                guard case .head(let found) = try CatalogCopyLine(parsing: line, org: copy.name.org) else {
                    throw EngineError(.damaged, "the copy starts without its head")
                }
                head = found
                throw HeadIsRead()
            }
        } catch is HeadIsRead {}
        guard let head else { throw EngineError(.damaged, "the copy is empty") }
        guard head.org == copy.name.org, head.date == copy.name.date, head.origin == copy.name.origin else {
            throw EngineError(.swapped, "the copy is that of \(head.org) of \(head.date)")
        }
        return head
    }

    private func takeIn(
        _ frame: [UInt8], _ head: CatalogCopyHead, from backend: Backend, _ result: inout CatalogRestoreResult
    ) throws {
        var backups: [CopiedBackup] = []
        var facts: [CopiedFact] = []
        // A copy has its backups first: what is known of them finds them here.
        func takeInBatches() throws {
            try takeIn(backups, &result)
            result.historyCount += try catalog.merge(facts)
            backups.removeAll(keepingCapacity: true)
            facts.removeAll(keepingCapacity: true)
        }
        try CatalogCopyFile.forEachLine(frame) { bytes in
            switch try CatalogCopyLine(parsing: bytes, org: head.org) {
            case .head, .unknown: break
            // The place that the copy lies at has this host's name here, whatever it was called where it was made.
            case .backup(let backup): backups.append(backup.renaming(head.backend, to: backend.name))
            case .fact(let fact): facts.append(fact.renaming(head.backend, to: backend.name))
            }
            if backups.count + facts.count >= Self.batchCount { try takeInBatches() }
        }
        try takeInBatches()
    }

    private func takeIn(_ batch: [CopiedBackup], _ result: inout CatalogRestoreResult) throws {
        for (name, backups) in Dictionary(grouping: batch, by: \.identifier.backend) {
            guard let backend = backends[name] else {
                result.elsewhere[name, default: 0] += backups.count
                continue
            }
            let collected = Mutex((result: result, outage: EngineError?.none))
            forEachInParallel(backups, threadCount: Self.intakeThreadCount(backend)) { [self] backup in
                guard collected.withLock({ $0.outage == nil }) else { return }
                let outcome = takeIn(backup, at: backend)
                var outage: EngineError?
                if case .refused(let error) = outcome, isOutage(error, of: backend) { outage = error }
                collected.withLock { collected in
                    collected.outage = collected.outage ?? outage
                    collected.result.note(outcome, backup)
                }
            }
            let (collectedResult, outage) = collected.withLock { $0 }
            result = collectedResult
            if let outage { throw outage }
        }
    }

    private func takeIn(_ backup: CopiedBackup, at backend: Backend) -> IntakeOutcome {
        let identifier = backup.identifier
        let place = BackupPlace(identifier, generation: backup.generation)
        do {
            let row = try catalog.backup(identifier)
            let isAuthentic = row != nil && (try? authenticManifest(of: identifier)) != nil
            if let row, isAuthentic, row.generation >= backup.generation { return .known }
            let found = try foundManifest(backup.manifestJSON, of: place, readingKey(of: identifier.org))
            let record = try prove(found, header: backup.archiveHeader, at: backend)
            let manifestKey = try backend.manifestKey(of: place).string
            switch try catalog.takeIn(record, from: manifestKey, replacing: !isAuthentic) {
            case .underWay: return .underWay
            case .exists: return .known
            case .registered, .replaced: return .registered
            }
        } catch {
            return .refused(EngineError(error, subject: "\(identifier)"))
        }
    }
}

extension CatalogRestoreResult {
    fileprivate mutating func note(_ outcome: IntakeOutcome, _ backup: CopiedBackup) {
        switch outcome {
        case .registered: registered.append(backup.identifier)
        case .known: known.append(backup.identifier)
        case .moved, .superseded, .underWay, .gone: break
        case .refused(let error): refuse("\(backup.identifier)", error)
        }
    }
}

extension BackupIdentifier {
    fileprivate func renaming(_ old: ResourceName, to new: ResourceName) -> BackupIdentifier {
        backend == old ? at(new) : self
    }
}

extension CopiedBackup {
    fileprivate func renaming(_ old: ResourceName, to new: ResourceName) -> CopiedBackup {
        CopiedBackup(
            identifier: identifier.renaming(old, to: new), generation: generation, archiveObject: archiveObject,
            createdAt: createdAt, rawByteCount: rawByteCount, dataByteCount: dataByteCount,
            archiveByteCount: archiveByteCount, manifestJSON: manifestJSON, archiveHeader: archiveHeader)
    }
}

extension CopiedFact {
    fileprivate func renaming(_ old: ResourceName, to new: ResourceName) -> CopiedFact {
        switch self {
        case .check(let identifier, let check): return .check(identifier.renaming(old, to: new), check)
        case .damage(let identifier, let damage): return .damage(identifier.renaming(old, to: new), damage)
        case .run(let run):
            return .run(
                RunRecord(
                    kind: run.kind, identifier: run.identifier.renaming(old, to: new), startedAt: run.startedAt,
                    outcome: run.outcome, detail: run.detail, rawByteCount: run.rawByteCount,
                    fetchedByteCount: run.fetchedByteCount, totalMilliseconds: run.totalMilliseconds,
                    openMilliseconds: run.openMilliseconds, fetchMilliseconds: run.fetchMilliseconds,
                    decodeMilliseconds: run.decodeMilliseconds, writeMilliseconds: run.writeMilliseconds,
                    checksJSON: run.checksJSON))
        }
    }
}
