package import BackupNames
internal import Catalog
internal import Logging
internal import OrgKeys
internal import Storage
internal import Synchronization
internal import Workers

/// What a look at one backend brought.
package struct RefreshResult: Sendable {
    /// Refusals that are listed by name.
    private static let refusalLimit = 100

    package fileprivate(set) var registered: [BackupIdentifier] = []
    /// Sidecars that were looked at and not taken in; the first of them.
    package fileprivate(set) var refused: [(name: String, error: EngineError)] = []
    package fileprivate(set) var refusedCount = 0
    /// Those that were refused before, and have not changed: not looked at again.
    package fileprivate(set) var rememberedCount = 0
    /// New ones that are left for the next round.
    package fileprivate(set) var leftCount = 0
    /// Those of orgs whose backups this host cannot read.
    package fileprivate(set) var unreadableCount = 0

    fileprivate mutating func refuse(_ name: String, _ error: EngineError) {
        refusedCount += 1
        if refused.count < Self.refusalLimit { refused.append((name, error)) }
    }
}

/// Finds the backups that other hosts have put at a backend: one listing each round, and only sidecars that are new are
/// fetched. Those that were refused are remembered and left alone until something about them changes.
///
/// Whoever can write there may plant millions of sidecars: a round looks at a bounded number, and the next one goes on where
/// it stopped, so that what is genuine comes by at last. One thread at a time.
package final class CatalogRefresh: @unchecked Sendable {
    // Safe because: its owner's one thread calls it.
    package static let fetchLimit = 1000
    /// Marks of holds that one round looks at: whoever can write to the backend can make any number.
    static let holdLimit = 10_000

    private let engine: Engine
    private let backend: Backend
    /// Where the last round stopped; nil where it came to the end.
    private var resumesAfter: ObjectKey?

    package init(_ engine: Engine, _ backend: Backend) {
        self.engine = engine
        self.backend = backend
    }

    private struct Candidate: Sendable {
        let sidecar: ListedSidecar
        let version: String
    }

    /// One round. Throws when the backend cannot be listed or goes away meanwhile; what was taken in until then stays.
    package func run(
        fetchLimit: Int = fetchLimit, isStopped: @escaping @Sendable () -> Bool = { false }
    ) throws(EngineError) -> RefreshResult {
        var result = RefreshResult()
        do {
            let keys = try fingerprints()
            var budget = fetchLimit
            var early: [Candidate] = []
            var held: [BackupIdentifier] = []
            var last: ObjectKey?
            var listing = BackendListing(backend)
            try listing.forEachPage { page in
                if isStopped() { throw EngineError(.cancelled, "the catalog's refresh was stopped") }
                held += page.held.prefix(Self.holdLimit - held.count)
                let candidates = try candidates(page.sidecars, keys, &result)
                let split = candidates.partitioningIndex { candidate in
                    resumesAfter.map { candidate.sidecar.facts.key > $0 } ?? true
                }
                early += candidates[..<split].prefix(fetchLimit - early.count)
                result.leftCount += candidates.count
                let now = Array(candidates[split...].prefix(budget))
                budget -= now.count
                last = now.last?.sidecar.facts.key ?? last
                try look(at: now, &result, isStopped)
            }
            let second = Array(early.prefix(budget))
            try look(at: second, &result, isStopped)
            // After the sidecars: those of new backups count, too.
            try engine.noteHolds(held)
            resumesAfter = result.leftCount > 0 ? second.last?.sidecar.facts.key ?? last : nil
        } catch {
            throw EngineError(error, subject: "backend \"\(backend.name)\"")
        }
        return result
    }

    /// Of the keys of the orgs that this host can read. Whose key is not here cannot be looked at, and is nobody's mistake.
    private func fingerprints() throws -> [ResourceName: String] {
        var keys: [ResourceName: String] = [:]
        for org in try engine.keys.list() {
            do {
                keys[org] = RefusalMemory.fingerprint(of: try engine.key(of: org))
            } catch {
                engine.log.warning("the backups of org \(org) are not looked for: \(error)")
            }
        }
        return keys
    }

    /// Those of a page that have to be looked at.
    private func candidates(
        _ sidecars: [ListedSidecar], _ keys: [ResourceName: String], _ result: inout RefreshResult
    ) throws -> [Candidate] {
        let readable = sidecars.compactMap { sidecar -> Candidate? in
            keys[sidecar.identifier.org].map { fingerprint in
                Candidate(sidecar: sidecar, version: RefusalMemory.version(of: sidecar.facts, tried: fingerprint))
            }
        }
        result.unreadableCount += sidecars.count - readable.count
        let standing = try engine.catalog.standing(of: readable.map(\.sidecar.sidecarPlace), at: backend.name)
        let now = engine.clock.secondsSince1970
        var candidates: [Candidate] = []
        for (candidate, standing) in zip(readable, standing) {
            switch standing {
            case .registered, .underWay: continue
            case .refused(let refusal) where !RefusalMemory.isDue(refusal, version: candidate.version, now: now):
                result.rememberedCount += 1
            case .refused, .new: candidates.append(candidate)
            }
        }
        return candidates
    }

    fileprivate struct Looking {
        var outage: EngineError?
        var refusals: [RefusedSidecar] = []
        var result: RefreshResult
    }

    private func look(
        at candidates: [Candidate], _ result: inout RefreshResult, _ isStopped: @escaping @Sendable () -> Bool
    ) throws {
        let now = engine.clock.secondsSince1970
        let state = Mutex(Looking(result: result))
        forEachInParallel(candidates, threadCount: Engine.intakeThreadCount(backend)) { [engine, backend] candidate in
            guard !isStopped(), state.withLock({ $0.outage == nil }) else { return }
            let outcome = engine.takeIn(candidate.sidecar, from: backend)
            var outage: EngineError?
            if case .refused(let error) = outcome, engine.isOutage(error, of: backend) { outage = error }
            state.withLock { state in
                if let outage {
                    state.outage = outage
                } else {
                    state.note(outcome, candidate.sidecar, version: candidate.version, now: now)
                }
            }
        }
        let outcome = state.withLock { $0 }
        try engine.catalog.noteRefused(outcome.refusals, at: backend.name)
        result = outcome.result
        if let outage = outcome.outage { throw outage }
        if isStopped() { throw EngineError(.cancelled, "the catalog's refresh was stopped") }
    }
}

extension CatalogRefresh.Looking {
    fileprivate mutating func note(
        _ outcome: IntakeOutcome, _ sidecar: ListedSidecar, version: String, now: Int64
    ) {
        result.leftCount -= 1
        switch outcome {
        case .registered: result.registered.append(sidecar.identifier)
        case .moved, .known, .superseded, .underWay, .gone: break
        case .refused(let error):
            result.refuse(sidecar.facts.key.string, error)
            if let refusal = RefusalMemory.refusal(error, of: sidecar.facts.key, version: version, now: now) {
                refusals.append(refusal)
            }
        }
    }
}

extension Array {
    /// The first index whose element, and all behind it, fulfil the condition; the elements are ordered by it.
    fileprivate func partitioningIndex(_ belongsBehind: (Element) -> Bool) -> Int {
        firstIndex(where: belongsBehind) ?? endIndex
    }
}
