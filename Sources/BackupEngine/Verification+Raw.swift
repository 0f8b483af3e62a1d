internal import Archive
internal import BackupNames
internal import CryptoPrimitives
internal import Manifest
internal import SeekableZstd
internal import Storage
internal import Workers

extension Engine {
    /// Everything, in one pass that goes on past what is damaged, so that all of it is named.
    func checkRaw(_ backup: OpenBackup, _ report: inout CheckReport, _ progress: ProgressReport) throws {
        let identifier = backup.identifier
        let manifest = backup.manifest
        let end = manifest.rawByteCount
        let header = backup.header
        var stored = [UInt8](repeating: 0, count: header.count)
        let facts = try backup.source.store.head(backup.source.key)
        if facts.byteCount != backup.source.byteCount {
            report.findings.append(CheckFinding(sizeError(backup, facts)))
        }
        if facts.byteCount >= UInt64(header.count) {
            try stored.withUnsafeMutableBytes { try backup.source.read(at: 0, into: $0) }
        }
        if stored != header {
            guard try firstFrameOpens(backup) else {
                let error = EngineError(
                    .swapped, "\(identifier): the object at the backend is another archive than the one registered")
                let whole = ArchiveDamage(
                    archiveRange: 0..<backup.source.byteCount, frame: nil,
                    rawRange: 0..<(backup.hasReplicas ? 0 : end), detail: error.detail, isHealed: backup.hasReplicas)
                report.findings.insert(CheckFinding(error, whole), at: 0)
                report.lostByteCount = UInt64(whole.rawRange.count)
                return
            }
            let damage = ArchiveDamage(
                archiveRange: 0..<UInt64(header.count), frame: nil, rawRange: 0..<0,
                detail: "the header is damaged; the catalog has it")
            report.findings.append(CheckFinding(damageError(identifier, damage), damage))
        }
        let before = replicaUse.unreachableRanges
        let outcome = try pass(
            over: backup, from: backup.replicatedSource,
            ArchiveScan.Options(fetchers: fetchers(of: identifier.backend), toleratesDamage: true)
        ) { try progress($0, end) }
        try progress(end, end)
        report.fetchedByteCount += outcome.timings.fetchedByteCount
        report.archiveSHA256 = outcome.archiveSHA256
        report.rawSHA256 = outcome.rawSHA256
        report.lostByteCount = outcome.lostByteCount
        report.findings += outcome.damage.map { CheckFinding(damageError(identifier, $0), $0) }
        if replicaUse.unreachableRanges > before {
            report.findings.append(
                CheckFinding(
                    EngineError(
                        .backendUnavailable,
                        "\(identifier): the backend could not be read; the replicas were, and are whole")))
        }
        guard report.isGood else { return }
        if let digest = outcome.archiveSHA256, !digest.isEqualInConstantTime(to: manifest.archiveSHA256) {
            report.findings.append(
                CheckFinding(
                    EngineError(
                        .damaged, "\(identifier): the archive's SHA-256 is \(digest), not \(manifest.archiveSHA256)")))
        }
        if let digest = outcome.rawSHA256, !digest.isEqualInConstantTime(to: manifest.rawSHA256) {
            report.findings.append(
                CheckFinding(
                    EngineError(
                        .damaged, "\(identifier): the image's SHA-256 is \(digest), not \(manifest.rawSHA256)")))
        }
    }

    func sizeError(_ backup: OpenBackup, _ facts: ObjectFacts) -> EngineError {
        EngineError(
            .truncated,
            "\(backup.identifier): the archive has \(facts.byteCount) bytes, \(backup.source.byteCount) are registered")
    }

    private func damageError(_ identifier: BackupIdentifier, _ damage: ArchiveDamage) -> EngineError {
        let place = "archive bytes \(damage.archiveRange.lowerBound)-\(damage.archiveRange.upperBound)"
        let frame = damage.frame.map { ", frame \($0)" } ?? ""
        let cost =
            damage.isHealed
            ? "; a replica has them"
            : damage.rawRange.isEmpty
                ? "; no raw bytes are lost"
                : "; raw bytes \(damage.rawRange.lowerBound)-\(damage.rawRange.upperBound) are lost"
        return EngineError(.damaged, "\(identifier): \(place)\(frame) are damaged\(cost): \(damage.detail)")
    }

    /// Whether what lies at the backend is this archive, whatever its header says.
    private func firstFrameOpens(_ backup: OpenBackup) throws -> Bool {
        let range: Range<UInt64>
        let opens: (UnsafeRawBufferPointer) -> Bool
        switch backup.content {
        case .frames(let reader):
            let run = reader.layout.run(ofFrames: 0..<min(1, reader.seekTable.frameCount))
            range = run.archiveRange
            opens = { ciphertext in
                self.decoders.withDecoder { (try? reader.decrypt(run, ciphertext, with: $0)) != nil }
            }
        case .foreign(let reader):
            range = reader.archiveRange(ofChunks: 0..<1)
            opens = { ciphertext in
                var cipher = reader.makeCipher()
                var plaintext = [UInt8](repeating: 0, count: ciphertext.count)
                return plaintext.withUnsafeMutableBytes {
                    (try? reader.decrypt(chunk: 0, ciphertext, with: &cipher, into: $0)) != nil
                }
            }
        }
        var ciphertext = [UInt8](repeating: 0, count: range.count)
        do throws(StorageError) {
            var failure: StorageError?
            ciphertext.withUnsafeMutableBytes { buffer in
                do throws(StorageError) {
                    try backup.source.store.read(backup.source.key, at: range.lowerBound, into: buffer)
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        } catch {
            guard error.code == .rangeNotSatisfiable else { throw error }
            return false
        }
        return ciphertext.withUnsafeBytes(opens)
    }
}
