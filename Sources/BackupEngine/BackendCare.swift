package import BackupNames
internal import Catalog
internal import Logging
package import Storage
internal import Workers

/// What is known of a backend when it was asked.
package struct BackendReport: Sendable {
    package let backend: Backend
    /// nil: it can be used.
    package let problem: StorageError?
}

extension Engine {
    /// Asks backends, all at once, whether they can be used as they are configured. Each store bounds that by its own limits; one that
    /// has said nothing after `seconds` (a folder on a file server that is gone, say) is away.
    package func checkBackends(_ names: [ResourceName]? = nil, within seconds: Int = 60) -> [BackendReport] {
        let asked = backends.values.filter { names?.contains($0.name) ?? true }.sorted { $0.name < $1.name }
        let reports = Monitor<[ResourceName: BackendReport]>([:])
        for backend in asked {
            NativeThread(name: "check") {
                var problem: StorageError?
                do throws(StorageError) { try backend.store.check() } catch { problem = error }
                let report = BackendReport(backend: backend, problem: problem)
                reports.withLock { $0[backend.name] = report }
            }.detach()
        }
        reports.wait(milliseconds: seconds * 1000) { $0.count == asked.count ? () : nil }
        let known = reports.withLock { $0 }
        return asked.map { backend in
            known[backend.name]
                ?? BackendReport(
                    backend: backend,
                    problem: StorageError(.timedOut, "\(backend.name)", "no answer within \(seconds) s"))
        }
    }

    /// Removes what uploads have left at a backend: those of this host's journal whose process is gone, and all others that
    /// started before `startedBefore` (seconds since 1970) and are not in the journal: of hosts that are gone, or from before
    /// there was an entry. Returns how many journal entries were cleared, and the identifiers of the others.
    package func collectGarbage(
        at backend: Backend, startedBefore: Int64
    ) throws(EngineError) -> (journal: Int, others: [String]) {
        do {
            let cleared = try cleanUpAfterCrash(only: backend.name)
            let alive = Set(try catalog.uploads().map(\.uploadIdentifier))
            let others = try backend.store.removeUnfinishedUploads(
                prefix: backend.prefixString, startedBefore: startedBefore, alive: alive)
            for identifier in others {
                log.notice("backend \(backend.name): removed the unfinished upload \(identifier)")
            }
            do {
                _ = try asOnlyTester(of: backend) { try removeProbes(at: backend) }
            } catch let error as EngineError where error.code == .busy {
                log.debug("\(error)")
            }
            return (cleared, others)
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
    }
}
