internal import Archive
package import BackupNames
internal import Catalog
internal import Logging
internal import Storage

/// The journal of what is under way at a backend and not (or no longer) in the catalog: what a crash leaves is found here.
extension Engine {
    /// Writes a journal entry of this process, before anything is done at the backend.
    func openJournalEntry(
        for place: BackupPlace, on backend: Backend, _ phase: UploadRecord.Phase
    ) throws -> Int64 {
        try catalog.beginUpload(journalRecord(for: place, on: backend, phase))
    }

    /// The same for a new backup; nil when somebody else has the name.
    func claimJournalEntry(for place: BackupPlace, on backend: Backend) throws -> Int64? {
        try catalog.claimUpload(journalRecord(for: place, on: backend, .upload), for: place.identifier)
    }

    private func journalRecord(
        for place: BackupPlace, on backend: Backend, _ phase: UploadRecord.Phase
    ) throws -> UploadRecord {
        let process = ProcessIdentity.current
        return UploadRecord(
            backend: backend.name, archiveKey: try backend.archiveKey(of: place).string,
            manifestKey: try backend.manifestKey(of: place).string, uploadIdentifier: "",
            startedAt: clock.secondsSince1970, ownerProcess: process.process, ownerStartTicks: process.startTicks,
            ownerBootIdentifier: process.bootIdentifier, phase: phase)
    }

    /// Removes what an upload of this process has left that failed, and its entry. Where this throws, the entry stays for the
    /// next start.
    ///
    /// - Parameters:
    ///   - header: the archive's, by which ours is told from another host's of the same name; nil if its completion was
    ///     never asked for.
    ///   - isCompleted: the archive got its name, and is ours alone.
    func clear(
        _ entry: Int64?, failed upload: String, of place: BackupPlace, on backend: Backend, header: [UInt8]?,
        isCompleted: Bool
    ) throws {
        let archiveKey = try backend.archiveKey(of: place)
        let manifestKey = try backend.manifestKey(of: place)
        if isCompleted {
            // Only now: whoever finds this entry in another phase takes in what is complete.
            if let entry { try catalog.updateUpload(entry, phase: .remove) }
            try purge(manifestKey, at: backend)
            try purge(archiveKey, at: backend)
        } else {
            // It says what `abort` cannot: that nothing is left.
            try backend.store.abortUpload(identifier: upload, key: archiveKey)
            // A completion that failed may have happened all the same.
            if let header, try isStored(header, archiveKey, on: backend),
                try facts(of: manifestKey, at: backend) == nil
            {
                try purge(archiveKey, at: backend)
            }
        }
        if let entry { try catalog.endUpload(entry) }
    }

    private func isStored(_ header: [UInt8], _ archiveKey: ObjectKey, on backend: Backend) throws -> Bool {
        guard let facts = try facts(of: archiveKey, at: backend), facts.byteCount >= UInt64(header.count) else {
            return false
        }
        var stored = [UInt8](repeating: 0, count: header.count)
        try stored.withUnsafeMutableBytes { try backend.store.read(archiveKey, at: 0, into: $0) }
        return stored == header
    }

    /// Finishes what processes that are gone left: aborts their uploads and deletes objects that never became a backup.
    /// Entries of a backend that cannot be reached stay for the next time. Returns how many were cleared.
    ///
    /// An object is deleted only when no registered backup has its key: registering removes the entry in the same
    /// transaction.
    @discardableResult
    package func cleanUpAfterCrash(only name: ResourceName? = nil) throws -> Int {
        do {
            try foreignCopies?.removeLeftOvers()
        } catch {
            log.warning("left-overs of local copies are not removed: \(error)")
        }
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
        cleared += finishRemovals(only: name)
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

    /// Another host may have made a backup of this disk in the same second: the one whose archive got the name has both names.
    /// So nothing is deleted that is not surely ours: an archive without a sidecar after our own completion, and what was
    /// being removed. A backup that is complete at the backend is taken in, whoever made it.
    private func clear(_ entry: UploadRecord, on backend: Backend) throws {
        guard let id = entry.id else { preconditionFailure("internal error: a journal entry without its row") }
        let archiveKey = try ObjectKey(entry.archiveKey)
        let manifestKey = try ObjectKey(entry.manifestKey)
        if !entry.uploadIdentifier.isEmpty {
            try backend.store.abortUpload(identifier: entry.uploadIdentifier, key: archiveKey)
        }
        let place = backend.place(ofManifestKey: manifestKey)
        let isRegistered =
            try place.map { try catalog.backup($0.identifier)?.place.manifestKey == $0.manifestKey } ?? false
        switch entry.phase {
        case .upload: break
        case .complete where isRegistered: break
        case .complete:
            if let place, let facts = try facts(of: manifestKey, at: backend) {
                // Its process may have ended before it was locked.
                if let end = try readLock(of: archiveKey, at: backend), end < .max {
                    try lockSidecar(manifestKey, at: backend, until: end)
                }
                try catalog.endUpload(id)
                return try finish(ListedSidecar(place: place, facts: facts), at: backend)
            }
            try purge(archiveKey, at: backend)
        case .remove where isRegistered: break
        case .remove:
            try purge(manifestKey, at: backend)
            try purge(archiveKey, at: backend)
        }
        try catalog.endUpload(id)
    }

    private func finish(_ sidecar: ListedSidecar, at backend: Backend) throws {
        switch takeIn(sidecar, from: backend) {
        case .registered: log.notice("\(sidecar.identifier) was complete when its process ended: it is registered")
        case .moved(let old):
            log.notice("\(sidecar.place) was complete when its process ended: the backup is there now")
            try removeObjects(of: old, at: backend, openJournalEntry(for: old, on: backend, .remove))
        case .known, .superseded, .underWay, .gone: break
        case .refused(let error):
            log.warning("\(sidecar.identifier) is at the backend, and is not taken in: \(error)")
        }
    }

    /// Removes objects that no row is about any more, the sidecar first, and the entry that names them. Where this throws, the entry
    /// stays, and the next start tries again.
    func removeObjects(of place: BackupPlace, at backend: Backend, _ entry: Int64) throws {
        try purge(backend.manifestKey(of: place), at: backend)
        try purge(backend.archiveKey(of: place), at: backend)
        try catalog.endUpload(entry)
    }

    /// nil where there is no such object.
    func facts(of key: ObjectKey, at backend: Backend) throws(StorageError) -> ObjectFacts? {
        do {
            return try backend.store.head(key)
        } catch {
            if error.code == .absent { return nil }
            throw error
        }
    }
}
