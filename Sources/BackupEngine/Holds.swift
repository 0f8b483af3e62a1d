package import BackupNames
internal import Catalog
internal import Logging
internal import Storage

/// Legal holds. The catalog is what counts; a mark beside the archive tells other hosts, and a catalog that is made anew. Whoever can
/// write to the backend can remove the mark, so a mark that is gone lets nothing go: only `release` does, at each host.
extension Engine {
    /// Holds a backup: nothing removes it until it is released. The catalog first, so that no removal comes between.
    package func hold(_ identifier: BackupIdentifier, reason: String) throws(EngineError) {
        do {
            _ = try registered(identifier)
            let hold = HoldRecord(identifier: identifier, heldAt: clock.secondsSince1970, reason: reason)
            guard try catalog.addHold(hold) else {
                throw EngineError(.notFound, "\(identifier) is being removed")
            }
            let backend = try backend(identifier.backend)
            let key = try backend.holdKey(of: identifier)
            do throws(StorageError) {
                let mark = Array("held by holdfast\n".utf8)
                _ = try mark.withUnsafeBytes { bytes -> Result<ObjectFacts, StorageError> in
                    Result { () throws(StorageError) in try backend.store.putIfAbsent(key, bytes) }
                }.get()
            } catch {
                if error.code != .alreadyExists {
                    throw EngineError(
                        EngineError(error, subject: "\(identifier)").code,
                        "\(identifier) is held here, but its backend did not take the mark: \(error)",
                        hint: "hold it again, so that other hosts know")
                }
            }
        } catch {
            throw EngineError(error, subject: "holding \(identifier)")
        }
    }

    /// Lets a backup go again. The mark first: one that could not be removed would bring the hold back.
    package func release(_ identifier: BackupIdentifier) throws(EngineError) {
        do {
            let backend = try backend(identifier.backend)
            try backend.store.purge(backend.holdKey(of: identifier))
            try catalog.removeHold(identifier)
        } catch {
            throw EngineError(error, subject: "releasing \(identifier)")
        }
    }

    /// Takes over the holds that others have marked at a backend, of backups that are registered here.
    func noteHolds(_ held: [BackupIdentifier]) throws(CatalogError) {
        guard !held.isEmpty else { return }
        let known = Set(try catalog.holds().map(\.identifier))
        for identifier in held where !known.contains(identifier) {
            guard try catalog.backup(identifier) != nil else { continue }
            if try catalog.addHold(
                HoldRecord(identifier: identifier, heldAt: clock.secondsSince1970, reason: ""))
            {
                log.notice("\(identifier) is held by another host")
            }
        }
    }
}
