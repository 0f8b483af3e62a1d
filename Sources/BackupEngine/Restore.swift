internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Glibc
internal import Logging
internal import Manifest
internal import RangeCache
internal import SeekableZstd
internal import Storage
internal import SystemIO
internal import Workers

/// Restores.
///
/// | target | verify first | stream, salvage |
/// |---|---|---|
/// | a new file | one pass, under another name that the file keeps until everything is proven | the same |
/// | a file or device that is there | a pass that verifies, then one that writes what was verified | one pass; unusable until it is proven |
/// | standard output | a pass that verifies, then one that writes | one pass |
///
/// The pass that writes is a scan like the one that verifies: every chunk is authenticated, and the whole is hashed again.
///
/// | what ends it early | what is left |
/// |---|---|
/// | the end of the process, a store that is away, a full disk | the target, unusable, and a journal: `resumes` goes on |
/// | damage | nothing of a new file; another target is unusable |
extension Engine {
    /// Restores a backup to a file, a block device, or standard output (`-`).
    package func restore(
        _ identifier: BackupIdentifier, to path: String, _ options: RestoreOptions = RestoreOptions(),
        progress: (RestorePhase, UInt64, UInt64) throws -> Void = { _, _, _ in }
    ) throws(EngineError) -> RestoreResult {
        let backup = try open(identifier)
        do {
            guard !(backup.isForeign && options.resumes) else {
                throw EngineError(
                    .invalidName, "\(identifier) is a foreign archive: a restore of it cannot go on where one stopped")
            }
            try checkSource(of: backup, options)
            if path == "-" { return try restoreToStandardOutput(backup, options, progress) }
            return try restore(backup, toFile: path, options, progress)
        } catch {
            throw EngineError(error, subject: "restoring \(identifier) to \"\(path)\"")
        }
    }

    /// What is wrong at the backend is an error at once, unless a replica may stand in, or something is better than nothing.
    private func checkSource(of backup: OpenBackup, _ options: RestoreOptions) throws {
        do {
            try checkStoredHeader(of: backup)
        } catch {
            guard backup.hasReplicas || options.mode == .salvage && error.code == .truncated else { throw error }
            log.warning("\(error)")
            if backup.hasReplicas { options.notice("\(error); its replicas are read") }
        }
    }

    // MARK: Files and devices

    private func restore(
        _ backup: OpenBackup, toFile path: String, _ options: RestoreOptions,
        _ progress: (RestorePhase, UInt64, UInt64) throws -> Void
    ) throws -> RestoreResult {
        let header = backup.header
        let resumes =
            options.resumes
            && stateDirectory.map { RestoreJournal.exists($0, target: path, header: header) } ?? false
        let target = try RestoreTarget.examine(
            path, rawByteCount: backup.rawByteCount, force: options.force || resumes)
        var verified: ArchiveScan.Outcome?
        if options.mode == .verifyFirst, !target.isNewFile {
            verified = try verifyFirst(backup, options) { try progress(.verify, $0, $1) }
        }
        let output = try target.open(keepsContent: resumes)
        let journal = try journal(of: backup, to: path, output, resumes: resumes)
        do {
            if !target.isNewFile { try output.makeUnusable() }
            let outcome = try write(backup, to: output, journal, resumes: resumes, options.mode == .salvage) {
                try progress(.write, $0, $1)
            }
            try checkHash(outcome, of: backup)
            try output.finish()
            journal?.remove()
            return result(backup, outcome, verified, resumed: journal?.suppliedByteCount ?? 0)
        } catch {
            let failure = EngineError(error, subject: "restoring \(backup.identifier) to \"\(path)\"")
            guard journal != nil, failure.code.mayBeResumed else {
                output.abandon()
                journal?.remove()
                throw failure
            }
            throw EngineError(
                failure.code, failure.detail, hint: failure.hint ?? "--resume goes on where it stopped",
                cause: failure.cause)
        }
    }

    /// What lets a restore go on; nil without a state folder, and for a foreign archive, which is one stream.
    private func journal(
        of backup: OpenBackup, to path: String, _ output: RestoreOutput, resumes: Bool
    ) throws -> RestoreJournal? {
        guard let stateDirectory, !backup.isForeign else { return nil }
        let table = try backup.reader.seekTable
        let journal = try RestoreJournal(
            stateDirectory, target: path, header: backup.header, keeps: resumes, frameCount: table.frameCount,
            output: output, rangeOfFrame: { table.rawRange(ofFrame: $0) })
        guard let journal else { throw EngineError(.targetInUse, "another restore to \"\(path)\" is under way") }
        return journal
    }

    /// One pass that writes. What is done with the pieces blocks, and must hold up no worker; two at once keep a disk busy.
    private func write(
        _ backup: OpenBackup, to output: RestoreOutput, _ journal: RestoreJournal?, resumes: Bool,
        _ toleratesDamage: Bool, _ progress: (UInt64, UInt64) throws -> Void
    ) throws -> ArchiveScan.Outcome {
        let writers = WorkerPool(threadCount: 2)
        defer { writers.close() }
        let table = journal == nil ? nil : try backup.reader.seekTable
        let total = backup.rawByteCount
        var scan = ArchiveScan.Options(
            fetchers: fetchers(of: backup.identifier.backend), toleratesDamage: toleratesDamage,
            supply: resumes ? journal : nil)
        scan.deliver = { offset, pieces, done in
            writers.submit(.ordinary) {
                let failure = output.write(pieces, at: offset)
                if failure == nil, let journal, let table {
                    var start = offset
                    var written: [(index: Int, bytes: UnsafeRawBufferPointer)] = []
                    for piece in pieces {
                        let end = start + piece.byteCount
                        if case .data(let buffer, let count) = piece, !output.holdsBack(start..<end) {
                            let index = table.frameIndex(containingRawOffset: start)
                            if !(resumes && journal.has(frame: index)) { written.append((index, buffer.prefix(count))) }
                        }
                        start = end
                    }
                    journal.note(written)
                }
                done(failure)
            }
        }
        let source = toleratesDamage ? backup.replicatedSource : backup.cachedSource
        let outcome = try pass(over: backup, from: source, scan) { try progress($0, total) }
        try progress(total, total)
        return outcome
    }

    /// The pass before anything is touched. What fits into the disk cache is fetched once for both passes; each checks what it reads.
    private func verifyFirst(
        _ backup: OpenBackup, _ options: RestoreOptions, _ progress: (UInt64, UInt64) throws -> Void
    ) throws -> ArchiveScan.Outcome {
        let capacity = rangeCache?.status.capacityByteCount ?? 0
        let isCacheable = backup.source.byteCount <= capacity / 2
        if try backend(backup.identifier.backend).isRemote, !isCacheable {
            options.notice(
                "the archive (\(backup.source.byteCount) bytes) does not fit into the disk cache: it is fetched twice, first to verify it; --stream fetches it once"
            )
        }
        let total = backup.rawByteCount
        let outcome = try pass(
            over: backup, from: isCacheable ? spoolingSource(of: backup) : backup.replicatedSource,
            ArchiveScan.Options(fetchers: fetchers(of: backup.identifier.backend))
        ) { try progress($0, total) }
        try checkHash(outcome, of: backup)
        // The second pass reads what the last reads of the first have queued.
        _ = rangeCache?.waitUntilIdle(milliseconds: Self.spoolingMilliseconds)
        try progress(total, total)
        return outcome
    }

    /// The archive through the disk cache, which keeps all of it unless its disk hangs.
    private func spoolingSource(of backup: OpenBackup) -> any ArchiveSource {
        guard let rangeCache, backends[backup.identifier.backend]?.isRemote == true else { return backup.cachedSource }
        _ = rangeCache.waitUntilOpened(milliseconds: Self.spoolingMilliseconds)
        return rangeCache.source(
            identity: backup.manifest.headerSHA256.bytes, gridOrigin: UInt64(backup.header.count),
            over: backup.replicatedSource, waitingMilliseconds: Self.spoolingMilliseconds)
    }

    private static var spoolingMilliseconds: Int { 5000 }

    /// The image that came is the one that was backed up; where bytes were lost there is nothing to compare.
    func checkHash(_ outcome: ArchiveScan.Outcome, of backup: OpenBackup) throws {
        let manifest = backup.manifest
        if let digest = outcome.rawSHA256, !digest.isEqualInConstantTime(to: manifest.rawSHA256) {
            throw EngineError(
                .damaged, "\(backup.identifier): the image's SHA-256 is \(digest), not \(manifest.rawSHA256)")
        }
        if outcome.damage.isEmpty, let digest = outcome.archiveSHA256,
            !digest.isEqualInConstantTime(to: manifest.archiveSHA256)
        {
            throw EngineError(
                .damaged, "\(backup.identifier): the archive's SHA-256 is \(digest), not \(manifest.archiveSHA256)")
        }
    }

    private func result(
        _ backup: OpenBackup, _ outcome: ArchiveScan.Outcome, _ verified: ArchiveScan.Outcome?, resumed: UInt64 = 0
    ) -> RestoreResult {
        noteDamage(outcome.damage, of: backup.identifier)
        return RestoreResult(
            identifier: backup.identifier, rawByteCount: backup.rawByteCount,
            dataByteCount: backup.dataByteCount, rawSHA256: outcome.rawSHA256, damage: outcome.damage,
            lostByteCount: outcome.lostByteCount, resumedByteCount: resumed, timings: outcome.timings,
            fetchedByteCount: outcome.timings.fetchedByteCount + (verified?.timings.fetchedByteCount ?? 0))
    }

    /// What a restore met is known from then on, as if a check had found it.
    func noteDamage(_ damage: [ArchiveDamage], of identifier: BackupIdentifier) {
        guard let first = damage.first else { return }
        let time = clock.secondsSince1970
        do {
            try catalog.noteCheck(
                identifier, .raw, at: time, outcome: EngineError.Code.damaged.rawValue, detail: first.detail)
            try catalog.setDamage(identifier, damage.map { $0.record(foundAt: time) })
        } catch {
            log.error("\(identifier): what is damaged is not written down: \(error)")
        }
    }

    // MARK: Standard output

    private func restoreToStandardOutput(
        _ backup: OpenBackup, _ options: RestoreOptions, _ progress: (RestorePhase, UInt64, UInt64) throws -> Void
    ) throws -> RestoreResult {
        var verified: ArchiveScan.Outcome?
        if options.mode == .verifyFirst {
            verified = try verifyFirst(backup, options) { try progress(.verify, $0, $1) }
        }
        let output = OutputStream(OwnedFile(adopting: try Errno.check { dup(1) }))
        let writers = WorkerPool(threadCount: 1)
        defer { writers.close() }
        let total = backup.rawByteCount
        let outcome = try pass(
            over: backup, from: backup.cachedSource,
            ArchiveScan.Options(
                fetchers: fetchers(of: backup.identifier.backend), toleratesDamage: options.mode == .salvage,
                deliver: { _, pieces, done in
                    writers.submit(.ordinary) {
                        do {
                            for piece in pieces { try output.write(piece) }
                            done(nil)
                        } catch {
                            done(error)
                        }
                    }
                })
        ) { try progress(.write, $0, total) }
        try checkHash(outcome, of: backup)
        try progress(.write, total, total)
        return result(backup, outcome, verified)
    }
}

extension ArchiveDamage {
    func record(foundAt time: Int64) -> DamageRecord {
        DamageRecord(
            archiveRange: archiveRange, frame: frame, rawRange: rawRange, foundAt: time,
            detail: isHealed ? "a replica has it: \(detail)" : detail)
    }
}

extension EngineError.Code {
    /// Whether a restore that this ended can go on later.
    fileprivate var mayBeResumed: Bool {
        switch self {
        case .backendUnavailable, .backendTimedOut, .backendDenied, .backendFull, .target, .cancelled, .busy, .source:
            true
        case .invalidName, .notFound, .alreadyExists, .noKey, .wrongKey, .badKeyFile, .keyInUse, .notAuthentic,
            .swapped, .damaged,
            .truncated, .sidecarMissing, .catalog, .emptyImage, .incompleteImage, .targetInUse, .targetTooSmall,
            .noRoom, .held:
            false
        }
    }
}
