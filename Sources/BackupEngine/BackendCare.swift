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
    /// Asks backends, all at once, whether they can be used as they are configured. Takes as long as the slowest, which each store
    /// bounds by its own limits.
    package func checkBackends(_ names: [ResourceName]? = nil) -> [BackendReport] {
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
        return reports.wait { reports in
            reports.count == asked.count ? asked.compactMap { reports[$0.name] } : nil
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
            return (cleared, others)
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
    }
}
