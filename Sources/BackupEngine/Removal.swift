package import BackupNames
internal import Catalog
internal import Logging
internal import Storage

/// A backup goes in this order, and a crash may end it anywhere:
///
/// | step | catalog | at the backend | what the next start finds |
/// |---|---|---|---|
/// | mark | the row, marked: nobody else sees it | archive, sidecar | goes on |
/// | the archive | the same | the sidecar | goes on |
/// | the sidecar | the same | nothing | goes on |
/// | the row | nothing | nothing | nothing |
///
/// The archive goes first, for it is what the store may refuse to remove: then nothing is gone yet, and the mark is taken back. A store
/// that is away leaves the mark, and every start tries again.
extension Engine {
    /// Removes a backup for good. One that is not there is success; `.held` where a hold or the store's lock keeps it.
    package func remove(_ identifier: BackupIdentifier) throws(EngineError) {
        do {
            while let summary = try catalog.backup(identifier) {
                if try catalog.beginRemoval(summary.place, at: clock.secondsSince1970) { break }
                // Else its file key was wrapped anew at this moment: then the row is about other objects now.
                if let hold = try catalog.holds().first(where: { $0.identifier == identifier }) {
                    throw EngineError(
                        .held, "\(identifier) is held" + (hold.reason.isEmpty ? "" : ": \(hold.reason)"),
                        hint: "holdfast hold --release lets it go")
                }
            }
            try finishRemoval(of: identifier)
        } catch {
            throw EngineError(error, subject: "removing \(identifier)")
        }
    }

    /// Goes on with the removals that an earlier process, or a store that was away, left. What cannot be removed now stays for the
    /// next time. Returns how many were finished.
    func finishRemovals(only name: ResourceName? = nil) -> Int {
        var finished = 0
        do {
            for removing in try catalog.removingBackups() {
                let identifier = removing.summary.identifier
                guard name.map({ $0 == identifier.backend }) ?? true, backends[identifier.backend] != nil else {
                    continue
                }
                do {
                    try finishRemoval(of: identifier)
                    finished += 1
                    log.notice("the removal of \(identifier) is finished")
                } catch {
                    log.warning("the removal of \(identifier) is not finished yet: \(error)")
                }
            }
        } catch {
            log.warning("removals that were begun are not looked for: \(error)")
        }
        return finished
    }

    private func finishRemoval(of identifier: BackupIdentifier) throws {
        let backend = try backend(identifier.backend)
        // More than once where the row went over to other objects meanwhile.
        while let removing = try catalog.removingBackups().first(where: { $0.summary.identifier == identifier }) {
            let place = removing.summary.place
            let archiveKey = try backend.archiveKey(of: place)
            if let end = try lockEnd(of: archiveKey, at: backend), end > clock.secondsSince1970 {
                try catalog.cancelRemoval(place, lockedUntil: end)
                throw EngineError(.held, "\(identifier) is locked by its store \(Self.until(end))")
            }
            do {
                try backend.store.purge(archiveKey)
            } catch {
                if error.code == .denied { try catalog.cancelRemoval(place, lockedUntil: nil) }
                throw error
            }
            try backend.store.purge(backend.manifestKey(of: place))
            _ = try catalog.remove(place)
        }
    }
}
