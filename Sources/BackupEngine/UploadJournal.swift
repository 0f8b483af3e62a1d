internal import Archive
package import BackupNames
internal import Catalog
internal import Logging
internal import Storage

/// The journal of what is under way at a backend and not (or no longer) in the catalog: what a crash leaves is found here.
extension Engine {
    /// Writes a journal entry of this process, before anything is done at the backend.
    func openJournalEntry(for identifier: BackupIdentifier, on backend: Backend) throws -> Int64 {
        try catalog.beginUpload(journalRecord(for: identifier, on: backend))
    }

    /// The same for a new backup; nil when somebody else has the name.
    func claimJournalEntry(for identifier: BackupIdentifier, on backend: Backend) throws -> Int64? {
        try catalog.claimUpload(journalRecord(for: identifier, on: backend), for: identifier)
    }

    private func journalRecord(for identifier: BackupIdentifier, on backend: Backend) throws -> UploadRecord {
        let process = ProcessIdentity.current
        return UploadRecord(
            backend: backend.name, archiveKey: try backend.archiveKey(of: identifier).string,
            manifestKey: try backend.manifestKey(of: identifier).string, uploadIdentifier: "",
            startedAt: clock.secondsSince1970, ownerProcess: process.process, ownerStartTicks: process.startTicks,
            ownerBootIdentifier: process.bootIdentifier)
    }

    /// Removes a backup: the row first, so that nobody opens what is going, then sidecar and archive. A journal entry spans
    /// it, so that a crash in between is finished by the next start.
    package func remove(_ identifier: BackupIdentifier) throws {
        let backend = try backend(identifier.backend)
        let entry = try openJournalEntry(for: identifier, on: backend)
        try catalog.remove(identifier)
        try backend.store.delete(backend.manifestKey(of: identifier))
        try backend.store.delete(backend.archiveKey(of: identifier))
        try catalog.endUpload(entry)
    }

    /// Finishes what processes that are gone left: aborts their uploads and deletes objects that never became a backup.
    /// Entries of a backend that cannot be reached stay for the next time. Returns how many were cleared.
    ///
    /// An object is deleted only when no registered backup has its key: registering removes the entry in the same
    /// transaction. An entry whose upload never got its identifier has put nothing at the backend.
    @discardableResult
    package func cleanUpAfterCrash(only name: ResourceName? = nil) throws -> Int {
        var cleared = 0
        for entry in try catalog.uploads() where !isAlive(entry) && (name.map { $0 == entry.backend } ?? true) {
            guard let backend = backends[entry.backend] else { continue }
            do {
                try clear(entry, on: backend)
                cleared += 1
                log.notice("removed what an interrupted backup left: \(entry.backend):\(entry.archiveKey)")
            } catch {
                log.warning(
                    "an interrupted backup is not cleaned up yet: \(entry.backend):\(entry.archiveKey): \(error)")
            }
        }
        // A process may die before its entry has the upload's name. A folder knows which uploads are alive; of a bucket nobody
        // does, and what is there is for `collectGarbage` and its age.
        for backend in backends.values where !backend.isRemote && (name.map { $0 == backend.name } ?? true) {
            do {
                let removed = try backend.store.removeUnfinishedUploads(
                    prefix: backend.prefixString, startedBefore: .max, alive: [])
                cleared += removed.count
            } catch {
                log.debug("backend \(backend.name): unfinished uploads are not looked for: \(error)")
            }
        }
        return cleared
    }

    func isAlive(_ entry: UploadRecord) -> Bool {
        ProcessIdentity(
            process: entry.ownerProcess, startTicks: entry.ownerStartTicks, bootIdentifier: entry.ownerBootIdentifier
        ).isAlive
    }

    private func clear(_ entry: UploadRecord, on backend: Backend) throws {
        guard let id = entry.id else { preconditionFailure("internal error: a journal entry without its row") }
        let archiveKey = try ObjectKey(entry.archiveKey)
        let manifestKey = try ObjectKey(entry.manifestKey)
        if !entry.uploadIdentifier.isEmpty {
            try backend.store.abortUpload(identifier: entry.uploadIdentifier, key: archiveKey)
        }
        let isRegistered =
            try backend.identifier(ofManifestKey: manifestKey).map { try catalog.backup($0) != nil } ?? false
        if !isRegistered {
            try backend.store.delete(manifestKey)
            try backend.store.delete(archiveKey)
        }
        try catalog.endUpload(id)
    }
}
