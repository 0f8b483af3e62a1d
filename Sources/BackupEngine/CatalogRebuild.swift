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
    /// Sidecars and archives that could not be taken in, and why; the first of them.
    package private(set) var refused: [(name: String, error: EngineError)] = []
    /// How many those are in all.
    package private(set) var refusedCount = 0

    mutating func refuse(_ name: String, _ error: EngineError) {
        refusedCount += 1
        if refused.count < Self.refusalLimit { refused.append((name, error)) }
    }
}

extension Engine {
    /// How many sidecars are looked at side by side: most of the time goes by in waiting for answers.
    static func intakeThreadCount(_ backend: Backend) -> Int { max(1, min(8, backend.fetchThreadCount / 2)) }

    /// Takes every backup of a backend into the catalog that is not there yet, from the sidecars and the org's key alone.
    /// Rows that are there and agree are left; rows that do not open (a damaged catalog) are made anew. Nothing is removed.
    ///
    /// A backup is taken in only when its sidecar is authentic and about its own name, and the archive beside it has the
    /// size, the header and the seek table that the manifest pins. An archive without a sidecar is reported, not taken in.
    /// Throws when the backend cannot be listed, or is gone in between; what was taken in until then stays.
    package func rebuildCatalog(from backend: Backend) throws(EngineError) -> RebuildResult {
        let result = Mutex(RebuildResult())
        do {
            var listing = BackendListing(backend)
            try listing.forEachPage { page in
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
                for key in page.loneArchives {
                    let error = EngineError(
                        .sidecarMissing, "\(key): the sidecar is missing; what it holds cannot be proven")
                    result.withLock { $0.refuse(key.string, error) }
                }
            }
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
        return result.withLock { result in
            result.registered.sort { "\($0)" < "\($1)" }
            result.known.sort { "\($0)" < "\($1)" }
            return result
        }
    }

    /// Whether an error about one object means the whole backend, so that nobody need wait for the next object's.
    func isOutage(_ error: EngineError, of backend: Backend) -> Bool {
        guard error.code == .backendUnavailable || error.code == .backendTimedOut else { return false }
        return (try? backend.store.check()) == nil
    }
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
