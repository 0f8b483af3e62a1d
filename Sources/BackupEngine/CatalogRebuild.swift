package import BackupNames
internal import Catalog
internal import Storage
internal import Synchronization
internal import Workers

/// What a rebuild of the catalog found at one backend.
package struct RebuildResult: Sendable {
    /// Names that are listed of what was refused: there may be millions.
    package static let refusalLimit = 1000

    package var registered: [BackupIdentifier] = []
    package var known: [BackupIdentifier] = []
    /// Sidecars, with the archives beside them, of earlier generations of backups that are registered: nobody needs them.
    package var leftOvers: [String] = []
    /// Registered backups whose archive or sidecar is not at the backend any more, or is another one: what a check of their presence
    /// finds. Their rows stay.
    package fileprivate(set) var gone: [(identifier: BackupIdentifier, error: EngineError)] = []
    /// Sidecars and archives that could not be taken in, and why; the first of them.
    package private(set) var refused: [(name: String, error: EngineError)] = []
    /// How many those are in all.
    package private(set) var refusedCount = 0

    mutating func refuse(_ name: String, _ error: EngineError) {
        refusedCount += 1
        if refused.count < Self.refusalLimit { refused.append((name, error)) }
    }

    mutating func forgetRefusals(_ isUnfounded: (String) -> Bool) {
        let count = refused.count
        refused.removeAll { isUnfounded($0.name) }
        refusedCount -= count - refused.count
    }
}

extension Engine {
    /// How many sidecars are looked at side by side: most of the time goes by in waiting for answers.
    static func intakeThreadCount(_ backend: Backend) -> Int { max(1, min(8, backend.fetchThreadCount / 2)) }

    /// Takes every backup of a backend into the catalog that is not there yet, from the sidecars and the org's key alone.
    /// Rows that are there and agree are left; rows that do not open (a damaged catalog) are made anew. Nothing is removed: rows
    /// whose objects the listing does not show are checked, and reported.
    ///
    /// A backup is taken in only when its sidecar is authentic and about its own name, and the archive beside it has the
    /// size, the header and the seek table that the manifest pins. An archive without a sidecar is reported, not taken in.
    /// Throws when the backend cannot be listed, or is gone in between; what was taken in until then stays.
    package func rebuildCatalog(from backend: Backend) throws(EngineError) -> RebuildResult {
        let result = Mutex(RebuildResult())
        do {
            var absent = try AbsentObjects(
                catalog.allBackups().filter { $0.identifier.backend == backend.name }, backend)
            var held: [BackupIdentifier] = []
            var listing = BackendListing(backend)
            try listing.forEachPage { page in
                absent.note(page)
                held += page.held.prefix(CatalogRefresh.holdLimit - held.count)
                let outage = Mutex<EngineError?>(nil)
                forEachInParallel(page.sidecars, threadCount: Self.intakeThreadCount(backend)) { [self] sidecar in
                    guard outage.withLock({ $0 == nil }) else { return }
                    let outcome = takeIn(sidecar, from: backend)
                    if case .refused(let error) = outcome, isOutage(error, of: backend) {
                        outage.withLock { $0 = error }
                    }
                    result.withLock { $0.note(outcome, sidecar) }
                }
                if let error = outage.withLock({ $0 }) { throw error }
                for key in page.loneArchives where try !isImported(key, at: backend) {
                    let error = EngineError(
                        .sidecarMissing, "\(key): the sidecar is missing; what it holds cannot be proven")
                    result.withLock { $0.refuse(key.string, error) }
                }
            }
            try noteHolds(held)
            let gone = try findings(of: absent.identifiers, at: backend)
            result.withLock { $0.gone = gone }
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
        return result.withLock { result in
            // The sidecar of an imported archive may be listed after it.
            result.forgetRefusals { name in
                guard let key = try? ObjectKey(name) else { return false }
                return (try? isImported(key, at: backend)) == true
            }
            // An earlier generation and a later one may have been taken in by two threads, and noted the other way round.
            result.registered = Set(result.registered).sorted { "\($0)" < "\($1)" }
            result.known.sort { "\($0)" < "\($1)" }
            return result
        }
    }

    /// Whether an object is the archive of a backup whose sidecar lies elsewhere.
    private func isImported(_ key: ObjectKey, at backend: Backend) throws -> Bool {
        try catalog.backup(
            withArchive: String(key.string.dropFirst(backend.prefixString.count)), at: backend.name) != nil
    }

    /// What a check of presence finds of rows whose objects were not listed: they may have moved or gone meanwhile.
    private func findings(
        of identifiers: [BackupIdentifier], at backend: Backend
    ) throws -> [(identifier: BackupIdentifier, error: EngineError)] {
        let found = Mutex((gone: [(identifier: BackupIdentifier, error: EngineError)](), outage: EngineError?.none))
        forEachInParallel(identifiers, threadCount: Self.intakeThreadCount(backend)) { [self] identifier in
            guard found.withLock({ $0.outage == nil }) else { return }
            do throws(EngineError) {
                guard let first = try check(identifier, .presence).findings.first else { return }
                found.withLock { $0.gone.append((identifier, first.error)) }
            } catch {
                if isOutage(error, of: backend) {
                    found.withLock { $0.outage = error }
                } else if (try? catalog.backup(identifier)) != .some(nil) {
                    found.withLock { $0.gone.append((identifier, error)) }
                }
            }
        }
        let (gone, outage) = found.withLock { $0 }
        if let outage { throw outage }
        return gone.sorted { "\($0.identifier)" < "\($1.identifier)" }
    }

    /// Whether an error about one object means the whole backend, so that nobody need wait for the next object's.
    func isOutage(_ error: EngineError, of backend: Backend) -> Bool {
        guard error.code == .backendUnavailable || error.code == .backendTimedOut else { return false }
        return (try? backend.store.check()) == nil
    }
}

/// The objects of rows that a listing has not shown yet.
private struct AbsentObjects {
    private var owners: [String: BackupIdentifier] = [:]

    init(_ rows: [BackupSummary], _ backend: Backend) throws {
        for row in rows {
            owners[try backend.archiveKey(of: row.place).string] = row.identifier
            owners[try backend.manifestKey(of: row.place).string] = row.identifier
        }
    }

    mutating func note(_ page: ListedPage) {
        for key in page.archives { owners[key.string] = nil }
        for sidecar in page.sidecars { owners[sidecar.facts.key.string] = nil }
    }

    /// Whose archive or sidecar is missing.
    var identifiers: [BackupIdentifier] { Array(Set(owners.values)) }
}

extension RebuildResult {
    fileprivate mutating func note(_ outcome: IntakeOutcome, _ sidecar: ListedSidecar) {
        switch outcome {
        case .registered: registered.append(sidecar.identifier)
        case .known: known.append(sidecar.identifier)
        case .moved(let old):
            // The earlier one may have been taken in an instant ago.
            registered.removeAll { $0 == old.identifier }
            registered.append(sidecar.identifier)
            leftOvers.append(old.manifestKey)
        case .superseded: leftOvers.append(sidecar.place.manifestKey)
        case .underWay, .gone: break
        case .refused(let error): refuse(sidecar.facts.key.string, error)
        }
    }
}
