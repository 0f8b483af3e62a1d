internal import Archive
package import BackupNames
internal import Catalog
internal import Logging
internal import Storage
internal import Synchronization

/// What the replicas of an engine's archives had to stand in for; since the process started.
package struct ReplicaUse: Sendable, Hashable {
    /// Ranges that were damaged where they should have come from, and whole at a replica.
    package var healedRanges: UInt64 = 0
    /// Ranges that could not be had where they should have come from.
    package var unreachableRanges: UInt64 = 0
    package var byteCount: UInt64 = 0
}

/// Counts and reports what replicas stand in for.
final class ReplicaNotes: Sendable {
    private let use = Mutex(ReplicaUse())
    private let log: Logger

    init(log: Logger) { self.log = log }

    var total: ReplicaUse { use.withLock { $0 } }

    func noteHealed(_ identifier: BackupIdentifier, _ range: Range<UInt64>, by backend: ResourceName) {
        use.withLock { use in
            use.healedRanges += 1
            use.byteCount += UInt64(range.count)
        }
        log.error(
            "\(identifier): archive bytes \(range.lowerBound)-\(range.upperBound) are damaged; the replica at \(backend) is read instead"
        )
    }

    func noteUnreachable(
        _ identifier: BackupIdentifier, _ range: Range<UInt64>, _ error: any Error, by backend: ResourceName
    ) {
        let isFirst = use.withLock { use in
            use.unreachableRanges += 1
            use.byteCount += UInt64(range.count)
            return use.unreachableRanges == 1
        }
        // A backend that is away fails every range: its store has said so once.
        if isFirst { log.warning("\(identifier): the replica at \(backend) is read instead: \(error)") }
    }
}

/// An archive of which other backends have replicas: the same bytes.
///
/// Attempt 0 reads where the archive belongs, and from a replica if it cannot be had there; attempt *n* reads from the *n*th
/// replica on. What any of them gives is authenticated by whoever reads, so a replica need not be trusted.
struct ReplicatedSource: ArchiveSource {
    struct Replica: Sendable {
        let backend: ResourceName
        let object: StoredObject
    }

    let identifier: BackupIdentifier
    let primary: StoredObject
    let replicas: [Replica]
    let notes: ReplicaNotes

    var byteCount: UInt64 { primary.byteCount }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        // One that is known to be away is not waited for while another is there.
        let isAway = !primary.store.condition.isThere && replicas.contains { $0.object.store.condition.isThere }
        let failure: StorageError
        do throws(StorageError) {
            guard !isAway else { throw StorageError(.unavailable, primary.key.string, "the backend is away") }
            return try primary.store.read(primary.key, at: archiveOffset, into: buffer)
        } catch {
            failure = error
        }
        for replica in replicas {
            do throws(StorageError) {
                try replica.object.store.read(replica.object.key, at: archiveOffset, into: buffer)
                let range = archiveOffset..<archiveOffset + UInt64(buffer.count)
                return notes.noteUnreachable(identifier, range, failure, by: replica.backend)
            } catch {
                continue
            }
        }
        throw failure
    }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        guard attempt > 0, attempt <= replicas.count else { return try read(at: archiveOffset, into: buffer) }
        let replica = replicas[attempt - 1]
        try replica.object.store.read(replica.object.key, at: archiveOffset, into: buffer)
        let range = archiveOffset..<archiveOffset + UInt64(buffer.count)
        notes.noteHealed(identifier, range, by: replica.backend)
    }

    func discard(_ range: Range<UInt64>, attempt: Int) -> Int? {
        attempt < replicas.count ? attempt + 1 : nil
    }
}

extension Engine {
    /// The same archive at other backends: the catalog has it there under the same name, with the same header.
    func replicas(of identifier: BackupIdentifier, header: [UInt8], byteCount: UInt64) throws -> [ReplicatedSource
        .Replica]
    {
        try backends.values.filter { $0.name != identifier.backend }.sorted { $0.name < $1.name }.compactMap {
            backend in
            let other = identifier.at(backend.name)
            guard try catalog.archiveHeader(other) == header, let place = try catalog.backup(other)?.place else {
                return nil
            }
            let object = StoredObject(
                store: backend.store, key: try backend.archiveKey(of: place), byteCount: byteCount)
            return ReplicatedSource.Replica(backend: backend.name, object: object)
        }
    }

    /// What replicas had to stand in for.
    package var replicaUse: ReplicaUse { replicaNotes.total }
}

extension BackupIdentifier {
    /// The same backup at another backend.
    package func at(_ backend: ResourceName) -> BackupIdentifier {
        BackupIdentifier(backend: backend, org: org, vm: vm, date: date, disk: disk)
    }
}
