internal import Catalog
internal import Logging
internal import Storage
internal import Workers

/// Keeps the catalog of a mount up to date while it is mounted: a thread for each backend, so that one that is away holds
/// up no other.
package final class CatalogCare: Sendable {
    private struct State {
        var isStopping = false
        var threadCount = 0
    }

    /// The first look waits until the mount's first reads are through.
    private static let firstRefreshSeconds = 2
    private static let loggedRefusals = 10

    private let engine: Engine
    private let state = Monitor(State())

    package init(_ engine: Engine) { self.engine = engine }

    package func start() {
        for backend in engine.backends.values {
            state.withLock { $0.threadCount += 1 }
            NativeThread(name: "catalog") { [self] in
                care(for: backend)
                state.withLock { $0.threadCount -= 1 }
            }.detach()
        }
    }

    /// Ends the threads, and waits so long at most; one that a backend holds ends with the process.
    package func stop(waitingMilliseconds milliseconds: Int) {
        state.withLock { $0.isStopping = true }
        let inTime: Void? = state.wait(milliseconds: milliseconds) { $0.threadCount == 0 ? () : nil }
        if inTime == nil { engine.log.debug("a backend does not answer: its refresh is given up") }
    }

    private var isStopping: Bool { state.withLockQuietly { $0.isStopping } }

    /// False when it is time to end.
    private func pause(seconds: Int) -> Bool {
        state.wait(milliseconds: seconds * 1000) { $0.isStopping ? () : nil } == nil
    }

    private func care(for backend: Backend) {
        let interval = engine.catalogCare.refreshSeconds
        guard interval > 0 else { return }
        let refresh = CatalogRefresh(engine, backend)
        var isAway = false
        var seconds = min(interval, Self.firstRefreshSeconds)
        while pause(seconds: seconds) {
            seconds = interval
            do throws(EngineError) {
                report(try refresh.run { [self] in isStopping }, of: backend)
                isAway = false
            } catch {
                // Once for each outage: the store itself logs nothing, and who reads from it is told by itself.
                if !isAway, !isStopping { engine.log.warning("\(error): other hosts' backups there are not seen") }
                isAway = true
            }
        }
    }

    private func report(_ result: RefreshResult, of backend: Backend) {
        for identifier in result.registered { engine.log.notice("found the backup \(identifier)") }
        for refusal in result.refused.prefix(Self.loggedRefusals) {
            engine.log.warning("backend \(backend.name): refused \(refusal.name): \(refusal.error)")
        }
        let unnamed = result.refusedCount - min(result.refused.count, Self.loggedRefusals)
        if unnamed > 0 { engine.log.warning("backend \(backend.name): refused \(unnamed) more sidecars") }
        if result.leftCount > 0 {
            engine.log.warning("backend \(backend.name): \(result.leftCount) new sidecars are left for the next look")
        }
    }
}
