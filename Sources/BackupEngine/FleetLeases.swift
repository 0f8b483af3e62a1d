internal import Catalog
internal import Logging
internal import Storage
internal import Synchronization

/// Agreements between hosts that share a backend: who backs up a disk, and who has one of a number of places. Without a server, by
/// objects alone, at one backend on which all hosts agree.
///
/// A claim is an empty object `.leases/<what>/<expires_at>.<holder>.<count>`, so that a listing tells everything. Whoever wants a lease
/// looks, puts a claim of his own, and looks again: if anybody else has one by then, he takes his back. Of two who come at once the
/// second to look sees the other's claim, for a listing shows what was put before it (S3 and folders promise that): both may go
/// without, never both with it. A claim counts until it expires by the reader's clock, and `skewSeconds` longer: as much may clocks
/// differ. One that is renewed is put anew, then the old one goes. A host that dies leaves claims that expire.
package final class FleetLeases: Sendable {
    /// How much the clocks of two hosts may differ.
    package static let skewSeconds: Int64 = 120
    /// Claims beyond this are nobody's: they were planted, or a clock was wrong by years.
    package static let longestSeconds: Int64 = 24 * 3600
    private static let folder = ".leases/"
    /// Of claims that one look reads: whoever can write to the backend can put any number.
    private static let claimLimit = 1000

    let engine: Engine
    let backend: Backend
    /// Random: two processes are two holders.
    let holder: String
    private let count = Mutex<UInt64>(0)
    /// The folders of the leases that this process has or takes: its own claims do not count as others', and one is enough.
    private let own = Mutex<Set<String>>([])

    package init(_ engine: Engine, at backend: Backend) {
        self.engine = engine
        self.backend = backend
        let number = UInt64.random(in: 0 ... .max)
        holder = String(number, radix: 16)
    }

    struct Claim {
        let key: ObjectKey
        let expiresAt: Int64
        let holder: Substring

        init?(_ key: ObjectKey, in folder: String) {
            let parts = key.string.dropFirst(folder.count).split(separator: ".", omittingEmptySubsequences: false)
            guard key.string.hasPrefix(folder), parts.count == 3, let end = Int64(parts[0]), !parts[1].isEmpty else {
                return nil
            }
            self.key = key
            expiresAt = end
            holder = parts[1]
        }
    }

    /// Takes a lease for so many seconds; nil where somebody else has it, this process itself, or came at the same moment.
    ///
    /// - Parameter what: names joined by slashes.
    package func take(_ what: String, seconds: Int64) throws(EngineError) -> FleetLease? {
        let folder = backend.prefixString + Self.folder + what + "/"
        guard own.withLock({ $0.insert(folder).inserted }) else { return nil }
        do {
            if let claim = try claim(folder, seconds) { return FleetLease(self, folder: folder, claim) }
            letGo(folder)
            return nil
        } catch {
            letGo(folder)
            throw EngineError(error, subject: "lease \"\(what)\" at backend \"\(backend.name)\"")
        }
    }

    private func claim(_ folder: String, _ seconds: Int64) throws -> Claim? {
        guard try others(folder).isEmpty else { return nil }
        let claim = try put(folder, seconds)
        do {
            if try others(folder).isEmpty { return claim }
            try backend.store.delete(claim.key)
            return nil
        } catch {
            // Whether somebody else has it is not known: nobody has.
            try? backend.store.delete(claim.key)
            throw error
        }
    }

    /// It can be taken again.
    func letGo(_ folder: String) { own.withLock { _ = $0.remove(folder) } }

    func put(_ folder: String, _ seconds: Int64) throws -> Claim {
        let end = engine.clock.secondsSince1970 + min(seconds, Self.longestSeconds)
        let number = count.withLock { count in
            count += 1
            return count
        }
        let key = try ObjectKey("\(folder)\(end).\(holder).\(number)")
        _ = try backend.store.putIfAbsent(key, UnsafeRawBufferPointer(start: nil, count: 0))
        guard let claim = Claim(key, in: folder) else { preconditionFailure("internal error: a claim of ours") }
        return claim
    }

    /// The claims of others that count. Those that have expired are removed on the way.
    private func others(_ folder: String) throws -> [Claim] {
        let now = engine.clock.secondsSince1970
        var others: [Claim] = []
        var after: String?
        var seen = 0
        repeat {
            let page = try backend.store.list(prefix: folder, after: after, limit: Self.claimLimit)
            seen += page.objects.count
            for claim in page.objects.compactMap({ Claim($0.key, in: folder) }) where claim.holder != holder {
                if claim.expiresAt + Self.skewSeconds <= now {
                    try? backend.store.delete(claim.key)
                } else if claim.expiresAt <= now + Self.longestSeconds + Self.skewSeconds {
                    others.append(claim)
                }
            }
            after = page.next
        } while after != nil && others.isEmpty && seen < Self.claimLimit
        return others
    }
}

/// One lease that this process has. Any thread may ask, renew and end it; one that is ended while it is renewed is given back.
package final class FleetLease: Sendable {
    private struct State {
        var claim: FleetLeases.Claim
        var isEnded = false
    }

    private let leases: FleetLeases
    private let folder: String
    private let state: Mutex<State>

    init(_ leases: FleetLeases, folder: String, _ claim: FleetLeases.Claim) {
        self.leases = leases
        self.folder = folder
        state = Mutex(State(claim: claim))
    }

    /// Whether it is still ours by our clock: whoever could not renew it in time has lost it.
    package var isHeld: Bool {
        state.withLock { $0.isEnded ? .min : $0.claim.expiresAt } > leases.engine.clock.secondsSince1970
    }

    /// Lengthens it to so many seconds from now. Where this throws it holds until it expires.
    package func renew(seconds: Int64) throws(EngineError) {
        do {
            guard isHeld else {
                throw EngineError(.cancelled, "the lease \"\(folder)\" has expired before it was renewed")
            }
            let next = try leases.put(folder, seconds)
            let surplus = state.withLock { state in
                if state.isEnded { return next }
                defer { state.claim = next }
                return state.claim
            }
            try leases.backend.store.delete(surplus.key)
        } catch {
            throw EngineError(error, subject: "lease \"\(folder)\"")
        }
    }

    /// Gives it back. What cannot be removed expires.
    package func end() {
        let (key, wasEnded) = state.withLock { state in
            defer { state.isEnded = true }
            return (state.claim.key, state.isEnded)
        }
        do throws(StorageError) {
            try leases.backend.store.delete(key)
        } catch {
            leases.engine.log.notice("the lease \"\(folder)\" is left to expire: \(error)")
        }
        if !wasEnded { leases.letGo(folder) }
    }
}
