internal import Catalog
internal import Logging
internal import Storage
internal import SystemIO
internal import Workers

/// Keeps the catalog of a mount up to date and safe while it is mounted: looks for other hosts' backups, and copies what changed.
/// A thread for each backend, so that one that is away holds up no other.
package final class CatalogCare: Sendable {
    /// How long everything takes its time; tests are in more of a hurry.
    package struct Pace: Sendable {
        /// The first look waits until the mount's first reads are through.
        package var firstRefreshMilliseconds = 2000
        /// How often it is asked whether the catalog changed.
        package var pollMilliseconds = 5000
        /// From a change to its copy: more changes come along.
        package var settleMilliseconds = 30_000
        /// From a copy that failed to the next attempt.
        package var retryMilliseconds = 300_000
        /// How often the whole file of the catalog is looked at.
        package var checkMilliseconds = 86_400_000
        /// From the look at a mount's start, or a damaged catalog that could not be made anew, to the next one.
        package var repairMilliseconds = 3_600_000

        package init() {}
    }

    private struct State {
        var isStopping = false
        var threadCount = 0
    }

    private static let loggedRefusals = 10

    private let engine: Engine
    private let pace: Pace
    private let state = Monitor(State())

    package init(_ engine: Engine, pace: Pace = Pace()) {
        self.engine = engine
        self.pace = pace
    }

    package func start() {
        state.withLock { $0.threadCount += 1 }
        NativeThread(name: "care-catalog") { [self] in
            watch()
            state.withLock { $0.threadCount -= 1 }
        }.detach()
        for backend in engine.backends.values {
            state.withLock { $0.threadCount += 1 }
            NativeThread(name: "catalog") { [self] in
                care(for: backend)
                state.withLock { $0.threadCount -= 1 }
            }.detach()
        }
    }

    /// Ends the threads, after a last copy of what has changed and is not copied yet. Waits so long at most; a thread that a
    /// backend holds ends with the process.
    package func stop(waitingMilliseconds milliseconds: Int) {
        state.withLock { $0.isStopping = true }
        let inTime: Void? = state.wait(milliseconds: milliseconds) { $0.threadCount == 0 ? () : nil }
        if inTime == nil { engine.log.warning("a backend is slow: its copy of the catalog is left to the next time") }
    }

    private var isStopping: Bool { state.withLockQuietly { $0.isStopping } }

    private func care(for backend: Backend) {
        var refreshing = Refreshing(pace, engine.catalogCare.refreshSeconds)
        var copying = Copying(pace, isWanted: engine.catalogCare.copyCount > 0)
        let refresh = CatalogRefresh(engine, backend)
        while true {
            let now = ContinuousClock.now
            let next = min(refreshing.next ?? .now + .seconds(3600), copying.next ?? .now + .seconds(3600))
            let milliseconds = Int(max(.zero, next - now) / .milliseconds(1)) + 1
            let isEnding: Void? = state.wait(milliseconds: milliseconds) { $0.isStopping ? () : nil }
            if isEnding != nil { break }
            if let due = refreshing.next, due <= .now { look(by: refresh, at: backend, &refreshing) }
            if let due = copying.next, due <= .now { copy(to: backend, &copying) }
        }
        // Of a backend that is known to be away nobody waits for an answer.
        if copying.hasNews(token), backend.store.condition.isThere { copy(to: backend) }
    }

    /// nil while the catalog cannot be asked: the change is not lost, the next poll sees it.
    private var token: Int64? { try? engine.catalog.changeToken() }

    // MARK: The file

    private func watch() {
        tellKept()
        var due = ContinuousClock.now + .milliseconds(pace.repairMilliseconds)
        while true {
            let isEnding: Void? = state.wait(milliseconds: pace.pollMilliseconds) { $0.isStopping ? () : nil }
            if isEnding != nil { return }
            // Asking notices a file that was removed or replaced, also while nobody uses the mount.
            _ = token
            guard due <= .now else { continue }
            due = .now + .milliseconds(checkCatalog() ? pace.checkMilliseconds : pace.repairMilliseconds)
        }
    }

    /// False if it is damaged still.
    private func checkCatalog() -> Bool {
        do throws(EngineError) {
            if let repair = try engine.repairCatalogIfDamaged() {
                for line in repair.report { engine.log.error("\(line)") }
            }
            return true
        } catch {
            engine.log.error("\(error): it stays as it is until it can be made anew")
            return false
        }
    }

    /// Says that there are damaged catalogs until somebody has taken them away.
    private func tellKept() {
        let folder = Folder.parentPath(of: engine.catalog.path)
        guard let entries = try? Folder.entries(of: folder) else { return }
        for name in entries.compactMap(\.name) where name.contains(".damaged-") && !name.hasSuffix("-wal") {
            engine.log.warning("a catalog that was damaged is kept as \(folder)/\(name)")
        }
    }

    // MARK: Other hosts' backups

    private struct Refreshing {
        let interval: Duration
        var next: ContinuousClock.Instant?
        var isAway = false

        init(_ pace: Pace, _ seconds: Int) {
            interval = .seconds(seconds)
            if seconds > 0 { next = .now + min(interval, .milliseconds(pace.firstRefreshMilliseconds)) }
        }
    }

    private func look(by refresh: CatalogRefresh, at backend: Backend, _ refreshing: inout Refreshing) {
        do throws(EngineError) {
            report(try refresh.run { [self] in isStopping }, of: backend)
            refreshing.isAway = false
        } catch {
            // Once for each outage.
            if !refreshing.isAway, !isStopping {
                engine.log.warning("\(error): other hosts' backups there are not seen")
            }
            refreshing.isAway = true
        }
        refreshing.next = .now + refreshing.interval
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

    // MARK: Copies

    /// Polls for changes of the catalog, waits until they have settled, then asks for a copy.
    private struct Copying {
        private let poll: Duration
        private let settle: Duration
        private let retry: Duration
        private var seen: Int64?
        /// When a copy has to be made of what is known to have changed.
        private var due: ContinuousClock.Instant?
        private(set) var next: ContinuousClock.Instant?
        /// The last attempt: a failure is told once.
        private(set) var hasFailed = false

        /// What changed while nothing was mounted counts as a change.
        init(_ pace: Pace, isWanted: Bool) {
            poll = .milliseconds(pace.pollMilliseconds)
            settle = .milliseconds(pace.settleMilliseconds)
            retry = .milliseconds(pace.retryMilliseconds)
            guard isWanted else { return }
            due = .now + settle
            next = .now + min(poll, settle)
        }

        /// True when a copy is due now.
        mutating func isDue(_ token: Int64?) -> Bool {
            let now = ContinuousClock.now
            if token != seen, due == nil { due = now + settle }
            seen = token ?? seen
            next = now + poll
            if let due {
                next = min(now + poll, max(due, now))
                return due <= now
            }
            return false
        }

        /// Our own note of the copy is a change too, which the next decision finds to be none.
        mutating func isDone(_ token: Int64?, failed hasFailed: Bool, dueInSeconds: Int64?) {
            seen = token ?? seen
            due = nil
            self.hasFailed = hasFailed
            if hasFailed { due = .now + retry }
            if let dueInSeconds { due = min(due ?? .now + .seconds(dueInSeconds), .now + .seconds(dueInSeconds)) }
            next = .now + poll
        }

        func hasNews(_ token: Int64?) -> Bool { next != nil && (due != nil || token != seen) }
    }

    private func copy(to backend: Backend, _ copying: inout Copying) {
        guard copying.isDue(token) else { return }
        let before = token
        let result = copy(to: backend, tellsFailures: !copying.hasFailed)
        copying.isDone(before, failed: !result.failed.isEmpty, dueInSeconds: result.dueInSeconds)
    }

    @discardableResult
    private func copy(to backend: Backend, tellsFailures: Bool = true) -> CatalogCopyResult {
        let result = engine.copyCatalog(to: backend)
        for failure in result.failed where tellsFailures {
            engine.log.warning("backend \(backend.name): no copy of the catalog: \(failure.error)")
        }
        for copy in result.made { engine.log.info("backend \(backend.name): copied the catalog to \(copy.key)") }
        return result
    }
}
