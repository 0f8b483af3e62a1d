internal import Archive
package import BackupNames
package import CryptoPrimitives
internal import RangeCache
internal import SeekableZstd
internal import Workers

/// What a restore did.
package struct RestoreResult: Sendable {
    package let identifier: BackupIdentifier
    package let rawByteCount: UInt64
    package let dataByteCount: UInt64
    package let rawSHA256: SHA256Digest
}

/// Where a restore is.
package enum RestorePhase: String, Sendable { case verify, write }

extension Engine {
    /// Restores a backup to a file or a block device. What is there is touched only when all of the backup is verified.
    ///
    /// A new file is written in the same pass that verifies, under another name that it keeps until everything is proven: each
    /// byte is fetched once. What was there before (a device, a file) is opened for writing after the verification only; the second
    /// pass writes what was verified, for every chunk of it is authenticated under the same file key, nonce and position.
    package func restore(
        _ identifier: BackupIdentifier, to path: String, force: Bool,
        progress: (RestorePhase, UInt64, UInt64) throws -> Void = { _, _, _ in }
    ) throws(EngineError) -> RestoreResult {
        let backup = try open(identifier)
        let target = try RestoreTarget.examine(path, rawByteCount: backup.reader.rawByteCount, force: force)
        if target.isNewFile { return try restoreInOnePass(backup, to: target, path, progress) }
        // What fits into the disk cache is fetched once for both passes; each checks what it reads.
        let isCacheable = UInt64(backup.source.byteCount) <= (rangeCache?.status.capacityByteCount ?? 0) / 2
        let source: any ArchiveSource = isCacheable ? backup.cachedSource : backup.source
        let verified = try verify(backup, from: source) { done, total in try progress(.verify, done, total) }
        guard let rawSHA256 = verified.rawSHA256 else { preconditionFailure("internal error: nothing was hashed") }
        do {
            let output = try target.open()
            do {
                try write(backup, to: output) { done, total in try progress(.write, done, total) }
                try output.finish()
            } catch {
                output.abandon()
                throw error
            }
        } catch {
            throw EngineError(error, subject: "restoring \(identifier) to \"\(path)\"")
        }
        return RestoreResult(
            identifier: identifier, rawByteCount: backup.reader.rawByteCount,
            dataByteCount: backup.reader.seekTable.dataByteCount, rawSHA256: rawSHA256)
    }

    private func restoreInOnePass(
        _ backup: OpenBackup, to target: RestoreTarget, _ path: String,
        _ progress: (RestorePhase, UInt64, UInt64) throws -> Void
    ) throws(EngineError) -> RestoreResult {
        // Writes block, and must hold up no worker. Two at once keep a disk busy.
        let writers = WorkerPool(threadCount: 2)
        defer { writers.close() }
        do {
            let output = try target.open()
            do {
                let verified = try verify(
                    backup,
                    deliver: { offset, pieces, done in
                        writers.submit(.ordinary) { done(output.write(pieces, at: offset)) }
                    }
                ) { done, total in try progress(.write, done, total) }
                guard let rawSHA256 = verified.rawSHA256 else {
                    preconditionFailure("internal error: nothing was hashed")
                }
                try output.finish()
                try progress(.write, verified.rawByteCount, verified.rawByteCount)
                return RestoreResult(
                    identifier: backup.identifier, rawByteCount: verified.rawByteCount,
                    dataByteCount: backup.reader.seekTable.dataByteCount, rawSHA256: rawSHA256)
            } catch {
                output.abandon()
                throw error
            }
        } catch {
            throw EngineError(error, subject: "restoring \(backup.identifier) to \"\(path)\"")
        }
    }

    private struct WriteState {
        var runsInFlight = 0
        var failure: (any Error)?
        var writtenByteCount: UInt64 = 0
    }

    /// Decodes and writes all data frames, several runs at a time; each lands at its own offset, so no order is needed.
    private func write(
        _ backup: OpenBackup, to output: RestoreOutput, _ progress: (UInt64, UInt64) throws -> Void
    ) throws {
        let reader = backup.reader
        let fetchers = fetchers(of: backup.identifier.backend)
        let table = reader.seekTable
        let total = table.dataByteCount
        let state = Monitor(WriteState())
        let framesPerRun = ArchiveScan.framesPerRun(table)
        let limit = workers.threadCount + 2
        let memory = BufferPool(capacityByteCount: Int.max / 2)
        defer { state.wait { $0.runsInFlight == 0 ? () : nil } }
        var index = 0
        while index < table.frameCount {
            if table.isZeroFrame(index) {
                try output.writeZeros(table.rawRange(ofFrame: index))
                index += 1
                continue
            }
            var end = index + 1
            while end < table.frameCount, end - index < framesPerRun, !table.isZeroFrame(end) { end += 1 }
            let run = reader.layout.nextRun(from: index, before: end, framesPerRun, ArchiveScan.archiveBytesPerRun)
            index = run.frames.upperBound
            let (failure, done): ((any Error)?, UInt64) = state.wait { state in
                if let failure = state.failure { return (failure, 0) }
                guard state.runsInFlight < limit else { return nil }
                state.runsInFlight += 1
                return (nil, state.writtenByteCount)
            }
            if let failure { throw failure }
            fetchers.submit(.ordinary) { [self] in
                let result = Result { try writeRun(run, of: reader, to: output, memory) }
                state.withLock { state in
                    state.runsInFlight -= 1
                    switch result {
                    case .success(let count): state.writtenByteCount += count
                    case .failure(let error): state.failure = state.failure ?? error
                    }
                }
            }
            try progress(done, total)
        }
        state.wait { $0.runsInFlight == 0 ? () : nil }
        if let failure = state.withLockQuietly({ $0.failure }) { throw failure }
        try progress(total, total)
    }

    /// On a fetch thread, for reading and writing block: fetch, decode on a worker, write. Returns the raw bytes written.
    private func writeRun(
        _ run: FrameRun, of reader: ArchiveReader, to output: RestoreOutput, _ memory: BufferPool
    ) throws -> UInt64 {
        let ciphertext = memory.takeWaiting(byteCount: max(1, run.ciphertextByteCount))
        try reader.fetch(
            run, into: UnsafeMutableRawBufferPointer(rebasing: ciphertext.bytes[0..<run.ciphertextByteCount]))
        let first = reader.seekTable.rawRange(ofFrame: run.frames.lowerBound).lowerBound
        let last = reader.seekTable.rawRange(ofFrame: run.frames.upperBound - 1).upperBound
        let count = Int(last - first)
        let raw = memory.takeWaiting(byteCount: count)
        let outcome = Monitor<Result<Void, any Error>?>(nil)
        workers.submit(.ordinary) { [decoders] in
            let result = Result {
                try decoders.withDecoder { decoder in
                    let stream = try reader.decrypt(run, ciphertext.prefix(run.ciphertextByteCount), with: decoder)
                    for index in run.frames {
                        let range = reader.seekTable.rawRange(ofFrame: index)
                        let start = Int(range.lowerBound - first)
                        try reader.decompress(
                            frame: index, of: run, stream: stream, with: decoder,
                            into: UnsafeMutableRawBufferPointer(rebasing: raw.bytes[start..<start + range.count]))
                    }
                }
            }
            outcome.withLock { $0 = result }
        }
        try outcome.wait { $0 }.get()
        try output.write(raw.prefix(count), at: first)
        return UInt64(count)
    }
}
