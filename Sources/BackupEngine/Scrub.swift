internal import Archive
package import BackupNames
package import Catalog
internal import Logging
internal import OrgKeys
internal import SeekableZstd
internal import Storage

/// What one run of a scrub did.
package struct ScrubResult: Sendable {
    package var reports: [CheckReport] = []
    package var sampledFrames = 0
    package var fetchedByteCount: UInt64 = 0
    /// What could not be checked now.
    package var failures: [(identifier: BackupIdentifier, error: EngineError)] = []
    package var tooLarge: [BackupIdentifier] = []
    /// Backups that were not due.
    package var leftCount = 0
}

extension Engine {
    /// Checks what is due by the rate, oldest check first, and some frames at random. Meant to be run daily; what earlier runs did
    /// is remembered in the catalog. `depth` is what whole archives are checked at; where the org's key cannot read, or `archive`
    /// is asked for, their hash is all.
    package func scrub(
        _ identifiers: Set<BackupIdentifier>, _ rate: ScrubRate, egressPerDay: UInt64?, depth: CheckDepth = .raw,
        random: inout some RandomNumberGenerator,
        progress: (BackupIdentifier, UInt64, UInt64) throws -> Void = { _, _, _ in },
        report: (CheckReport) -> Void = { _ in }
    ) throws(EngineError) -> ScrubResult {
        var result = ScrubResult()
        do {
            let checks = try catalog.allChecks()
            let items = try catalog.allBackups().filter { identifiers.contains($0.identifier) }.map { backup in
                let whole = checks[backup.identifier]?.filter { $0.depth != .presence }.map(\.checkedAt).max()
                return ScrubPlan.Item(
                    identifier: backup.identifier, archiveByteCount: backup.archiveByteCount,
                    createdAt: backup.createdAt, checkedAt: whole)
            }
            let now = clock.secondsSince1970
            let day = now / ScrubPlan.secondsPerDay
            let plan = ScrubPlan(
                items, rate, egressPerDay: egressPerDay, now: now, fetched: try catalog.scrubbed(since: day - 7))
            // A day on which everything waits counts, too.
            try noteScrubbed(day, 0)
            result.tooLarge = plan.tooLarge
            result.leftCount = items.count - plan.whole.count - plan.tooLarge.count
            for identifier in plan.whole {
                do throws(EngineError) {
                    let canRead = depth == .raw && (try? key(of: identifier.org).canRead) == true
                    let found = try check(identifier, canRead ? .raw : .archive) {
                        try progress(identifier, $0, $1)
                    }
                    result.reports.append(found)
                    result.fetchedByteCount += found.fetchedByteCount
                    report(found)
                    try noteScrubbed(day, found.fetchedByteCount)
                } catch {
                    result.failures.append((identifier, error))
                }
            }
            guard depth == .raw else { return result }
            try sample(plan, day, &result, &random, report)
        } catch {
            throw EngineError(error, subject: "scrub")
        }
        return result
    }

    private func noteScrubbed(_ day: Int64, _ byteCount: UInt64) throws(EngineError) {
        do throws(CatalogError) {
            try catalog.noteScrubbed(day: day, byteCount: byteCount)
        } catch {
            throw EngineError(error, subject: "scrub")
        }
    }

    /// Frames at random, until the bytes for them are used up.
    private func sample(
        _ plan: ScrubPlan, _ day: Int64, _ result: inout ScrubResult, _ random: inout some RandomNumberGenerator,
        _ report: (CheckReport) -> Void
    ) throws {
        var left = plan.sampleByteCount
        for identifier in plan.sampled.shuffled(using: &random) where left > 0 {
            guard (try? key(of: identifier.org).canRead) == true else { continue }
            let before = try catalog.backup(identifier)?.generation
            do throws(EngineError) {
                let backup = try open(identifier)
                // One that has no frames is checked as a whole, in its turn.
                guard !backup.isForeign else { continue }
                let reader = try backup.reader
                let table = reader.seekTable
                let frame = Int.random(in: 0..<table.frameCount, using: &random)
                let size = UInt64(reader.layout.run(ofFrames: frame..<frame + 1).ciphertextByteCount)
                guard size <= left else { continue }
                left -= size
                let found = try checkFrame(frame, of: backup)
                result.sampledFrames += 1
                result.fetchedByteCount += size
                if !found.isGood {
                    result.reports.append(found)
                    report(found)
                }
                try noteScrubbed(day, size)
            } catch {
                // It was wrapped anew or removed meanwhile: what was looked for is not the backup any more.
                if error.code == .notFound, try catalog.backup(identifier)?.generation != before { continue }
                result.failures.append((identifier, error))
            }
        }
    }

    /// Fetches and decodes one frame where it is stored, with the chunks that hold it.
    private func checkFrame(_ frame: Int, of backup: OpenBackup) throws(EngineError) -> CheckReport {
        let identifier = backup.identifier
        let reader = try backup.reader
        var report = CheckReport(
            identifier: identifier, depth: .raw, archiveByteCount: backup.source.byteCount,
            rawByteCount: reader.rawByteCount)
        let run = reader.layout.run(ofFrames: frame..<frame + 1)
        report.fetchedByteCount = UInt64(run.ciphertextByteCount)
        do {
            var ciphertext = [UInt8](repeating: 0, count: run.ciphertextByteCount)
            try ciphertext.withUnsafeMutableBytes { try backup.source.read(at: run.archiveRange.lowerBound, into: $0) }
            do {
                try decode(frame, run, ciphertext, reader)
                try catalog.noteSample(identifier, at: clock.secondsSince1970)
            } catch {
                let raw = reader.seekTable.rawRange(ofFrame: frame)
                let damage = ArchiveDamage(
                    archiveRange: run.archiveRange, frame: frame,
                    rawRange: reader.seekTable.isZeroFrame(frame) ? raw.lowerBound..<raw.lowerBound : raw,
                    detail: "\(error)", isHealed: false)
                let failure = EngineError(
                    .damaged, "\(identifier): frame \(frame), chosen at random, does not decode: \(error)",
                    hint: "`holdfast verify --raw` looks at the rest")
                report.findings = [CheckFinding(failure, damage)]
                report.lostByteCount = UInt64(damage.rawRange.count)
                let time = clock.secondsSince1970
                try catalog.noteCheck(
                    identifier, .raw, at: time, outcome: failure.code.rawValue, detail: failure.detail)
                try catalog.setDamage(identifier, try catalog.damage(identifier) + [damage.record(foundAt: time)])
                log.error("scrub: \(failure.detail)")
            }
            return report
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    private func decode(_ frame: Int, _ run: FrameRun, _ ciphertext: [UInt8], _ reader: ArchiveReader) throws {
        try decoders.withDecoder { decoder in
            try ciphertext.withUnsafeBytes { ciphertext in
                let stream = try reader.decrypt(run, ciphertext, with: decoder)
                guard !reader.seekTable.isZeroFrame(frame) else {
                    return try reader.checkZeroFrame(frame, of: run, stream: stream)
                }
                let raw = UnsafeMutableRawBufferPointer.allocate(
                    byteCount: max(1, Int(reader.seekTable[frame].rawByteCount)), alignment: 4096)
                defer {
                    raw.initializeMemory(as: UInt8.self, repeating: 0)
                    raw.deallocate()
                }
                try reader.decompress(
                    frame: frame, of: run, stream: stream, with: decoder,
                    into: UnsafeMutableRawBufferPointer(
                        rebasing: raw[..<Int(reader.seekTable[frame].rawByteCount)]))
            }
        }
    }
}
