internal import BackupNames
internal import Catalog
internal import Logging
internal import Storage

/// The object that a test of a backend writes: bytes that no compressor and no cache of a server makes less of, and of which any range
/// can be said again without keeping them.
///
/// Its key is `<prefix>/holdfast-test/<origin>-<number>`; the origin is the catalog's. One test at a time runs for a catalog and
/// backend (a lease), so what else of this origin is there was left by one that was killed.
struct BackendProbe {
    static let folder = "holdfast-test/"
    /// A stretch with its own number in front; the rest is the same in all.
    static let blockByteCount = 64 << 10

    let key: ObjectKey
    let byteCount: UInt64
    private let block: [UInt8]

    init(at backend: Backend, origin: String, byteCount: UInt64) throws(StorageError) {
        var random = SystemRandomNumberGenerator()
        key = try ObjectKey(
            Self.prefix(at: backend, origin: origin) + "\(UInt32.random(in: 0 ... .max, using: &random))")
        self.byteCount = byteCount
        block = (0..<Self.blockByteCount / 8).flatMap { _ in
            withUnsafeBytes(of: random.next()) { Array($0) }
        }
    }

    /// What keys of an origin start with; without one those of all.
    static func prefix(at backend: Backend, origin: String? = nil) -> String {
        backend.prefixString + folder + (origin.map { $0 + "-" } ?? "")
    }

    /// The bytes from `offset` on.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        var done = 0
        while done < buffer.count {
            let position = offset + UInt64(done)
            let number = position / UInt64(Self.blockByteCount)
            let start = Int(position % UInt64(Self.blockByteCount))
            let count = min(buffer.count - done, Self.blockByteCount - start)
            block.withUnsafeBytes { block in
                UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: block[start..<start + count]))
            }
            withUnsafeBytes(of: number.littleEndian) { bytes in
                for index in max(start, 0)..<max(start, min(8, start + count)) {
                    buffer[done + index - start] = bytes[index]
                }
            }
            done += count
        }
    }
}

extension Engine {
    private static let probeLeaseSeconds: Int64 = 6 * 3600
    /// A test of another host that began so long ago is over.
    private static let foreignProbeSeconds: Int64 = 86_400

    /// Runs `body` as the only one of this catalog that tests a backend.
    func asOnlyTester<Result>(of backend: Backend, _ body: () throws -> Result) throws -> Result {
        let owner = ProcessIdentity.current
        let now = clock.secondsSince1970
        let lease = LeaseRecord(
            name: "backend-test/\(backend.name)", expiresAt: now + Self.probeLeaseSeconds, ownerProcess: owner.process,
            ownerStartTicks: owner.startTicks, ownerBootIdentifier: owner.bootIdentifier)
        let holder = try catalog.takeLease(lease, now: now) { held in
            ProcessIdentity(
                process: held.ownerProcess, startTicks: held.ownerStartTicks, bootIdentifier: held.ownerBootIdentifier
            ).isAlive
        }
        if let holder {
            throw EngineError(.busy, "process \(holder.ownerProcess) tests the backend \"\(backend.name)\" right now")
        }
        defer {
            do throws(CatalogError) {
                try catalog.endLease(lease)
            } catch {
                log.warning("a lease is left in the catalog: \(error)")
            }
        }
        return try body()
    }

    /// Removes what tests of this catalog have left at a backend, which are over, and what those of others left a day ago. Returns how
    /// many objects and uploads. To be called by the only tester.
    func removeProbes(at backend: Backend) throws(StorageError) -> Int {
        var origin: String?
        do { origin = try catalog.origin() } catch { log.warning("probes of this host are not looked for: \(error)") }
        let before = clock.secondsSince1970 - Self.foreignProbeSeconds
        let own = origin.map { BackendProbe.prefix(at: backend, origin: $0) }
        var removed = 0
        var after: String?
        repeat {
            let page = try backend.store.list(prefix: BackendProbe.prefix(at: backend), after: after, limit: 1000)
            for object in page.objects
            where own.map({ object.key.string.hasPrefix($0) }) == true || object.modified < before {
                _ = try removeProbe(object.key, at: backend)
                removed += 1
            }
            after = page.next
        } while after != nil
        if let own {
            removed += try backend.store.removeUnfinishedUploads(prefix: own, startedBefore: .max, alive: []).count
        }
        removed += try backend.store.removeUnfinishedUploads(
            prefix: BackendProbe.prefix(at: backend), startedBefore: before, alive: []
        ).count
        return removed
    }

    /// Removes a probe for good. Where its store locks everything it is hidden: then the end of its lock is returned.
    func removeProbe(_ key: ObjectKey, at backend: Backend) throws(StorageError) -> Int64? {
        let end = backend.locksObjects ? try lockEnd(of: key, at: backend) : nil
        guard let end, end > clock.secondsSince1970 else {
            try backend.store.purge(key)
            return nil
        }
        try backend.store.delete(key)
        return end
    }
}
