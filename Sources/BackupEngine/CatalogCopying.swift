internal import AgeFormat
package import BackupNames
internal import Catalog
internal import Logging
internal import OrgKeys
internal import Storage
internal import Synchronization
internal import Workers

/// What copying the catalog to one backend came to.
package struct CatalogCopyResult: Sendable {
    package var made: [ListedCopy] = []
    /// Orgs of which the same was copied before.
    package var unchangedCount = 0
    package var failed: [(org: ResourceName, error: EngineError)] = []
    /// When something that was left has to be copied; nil if nothing was.
    var dueInSeconds: Int64?
}

/// Which copies are made.
package enum CopyOccasion: Sendable {
    /// Those that are due (`CopySchedule`).
    case whatIsDue
    /// All.
    case everything
}

/// Encrypted copies of the catalog at the backends: what a bare machine with a key gets everything back from, the history
/// too. An org's copies are encrypted to its recipients and hold its rows of all backends, and nobody else's.
extension Engine {
    /// Copies the catalog to a backend, an org at a time; a key of the org is needed, also one that cannot read. Older copies of
    /// this catalog beyond the number that is kept are removed. Throws nothing: what failed is in the result.
    package func copyCatalog(
        to backend: Backend, orgs wanted: [ResourceName]? = nil, _ occasion: CopyOccasion = .whatIsDue,
        isStopped: @Sendable () -> Bool = { false }
    ) -> CatalogCopyResult {
        var result = CatalogCopyResult()
        guard catalogCare.copyCount > 0 else { return result }
        let orgs: [ResourceName]
        do {
            orgs = try wanted ?? catalog.copiedOrgs()
        } catch {
            log.error("no copy of the catalog is made: \(error)")
            return result
        }
        for org in orgs where !isStopped() {
            do {
                try copyCatalog(of: org, to: backend, occasion, &result)
            } catch {
                let failure = EngineError(error, subject: "a copy of the catalog of org \"\(org)\"")
                // Whose key is not here copies it himself.
                if failure.code == .noKey { continue }
                result.failed.append((org, failure))
                if isOutage(failure, of: backend) { return result }
            }
        }
        return result
    }

    private func copyCatalog(
        of org: ResourceName, to backend: Backend, _ occasion: CopyOccasion, _ result: inout CatalogCopyResult
    ) throws {
        let key = try key(of: org)
        let content = CatalogContent(catalog: catalog, org: org)
        if occasion == .whatIsDue {
            let digest = try content.forEach { _ in }
            let last = try catalog.copyRecord(backend: backend.name, org: org)
            switch CopySchedule.decide(last: last, digest, now: clock.secondsSince1970) {
            case .now: break
            case .unchanged:
                result.unchangedCount += 1
                return
            case .later(let seconds):
                result.dueInSeconds = min(result.dueInSeconds ?? seconds, seconds)
                return
            }
        }
        result.made.append(try makeCopy(content, key, at: backend))
        do {
            try removeOldCopies(of: org, at: backend)
        } catch {
            log.warning("backend \(backend.name): older copies of the catalog are not removed: \(error)")
        }
    }

    /// Several processes may copy one catalog in one second: each takes a second of its own.
    private static let nameAttempts = 10

    private func makeCopy(_ content: CatalogContent, _ key: OrgKey, at backend: Backend) throws -> ListedCopy {
        let origin = try catalog.origin()
        var date = BackupDate(secondsSince1970: clock.secondsSince1970)
        var attempt = 1
        while true {
            let name = CatalogCopyName(backend: backend.name, org: content.org, date: date, origin: origin)
            let (bytes, digest) = try sealedCopy(content, name, key)
            do {
                let objectKey = try name.key(at: backend)
                let stored = try bytes.withUnsafeBytes { try backend.store.putIfAbsent(objectKey, $0) }
                let record = CatalogCopyRecord(contentSHA256: digest.bytes, copiedAt: clock.secondsSince1970)
                noteCopy(record, of: content.org, at: backend)
                return ListedCopy(name: name, key: objectKey, byteCount: stored.byteCount)
            } catch let error as StorageError where error.code == .alreadyExists && attempt < Self.nameAttempts {
                log.debug("\(error)")
            }
            attempt += 1
            date = date.next()
        }
    }

    /// Not to know of a copy costs one more copy.
    private func noteCopy(_ record: CatalogCopyRecord, of org: ResourceName, at backend: Backend) {
        do {
            try catalog.noteCopy(record, backend: backend.name, org: org)
        } catch {
            log.warning("the catalog does not remember its copy at backend \(backend.name): \(error)")
        }
    }

    private func sealedCopy(
        _ content: CatalogContent, _ name: CatalogCopyName, _ key: OrgKey
    ) throws -> ([UInt8], ContentDigest) {
        var file = CatalogCopyFile()
        try file.append(
            .head(
                CatalogCopyHead(
                    org: content.org, origin: name.origin, backend: name.backend, date: name.date,
                    toolVersion: Engine.toolVersion)))
        let digest = try content.forEach { try file.append($0) }
        return (try file.sealed(with: key.currentSealKey, to: recipients(of: key)), digest)
    }

    /// Only those of this catalog: another host's are its own affair, and those of a catalog that was lost are what is left
    /// of it.
    private func removeOldCopies(of org: ResourceName, at backend: Backend) throws {
        let origin = try catalog.origin()
        let own = try catalogCopies(of: org, at: backend).filter { $0.name.origin == origin }
        let old = own.dropFirst(catalogCare.copyCount).map(\.key)
        if !old.isEmpty { try backend.store.delete(old) }
    }

    // MARK: At the end of a command

    /// How long a command waits for its copies at most.
    package static let copyPatienceMilliseconds = 5000

    /// Copies the catalog to all backends at once, and waits no longer than this: a backend that is away keeps no command from
    /// ending. What is not done by then is left to the next command or the mount, and said.
    package func copyCatalogBriefly(milliseconds: Int = copyPatienceMilliseconds) {
        guard catalogCare.copyCount > 0 else { return }
        let results = Monitor<[ResourceName: CatalogCopyResult]>([:])
        let asked = backends.values.sorted { $0.name < $1.name }
        for backend in asked {
            NativeThread(name: "copy") { [self] in
                let result = copyCatalog(to: backend)
                results.withLock { $0[backend.name] = result }
            }.detach()
        }
        _ = results.wait(milliseconds: milliseconds) { $0.count == asked.count ? () : nil }
        let done = results.withLock { $0 }
        for backend in asked {
            guard let result = done[backend.name] else {
                log.warning("backend \(backend.name) is slow: the catalog's copy there is left to the next time")
                continue
            }
            for failure in result.failed { log.warning("the copy is left to the next time: \(failure.error)") }
        }
    }
}
