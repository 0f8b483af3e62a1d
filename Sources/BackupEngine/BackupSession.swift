internal import AgeFormat
package import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import DiskImage
internal import Glibc
internal import Logging
package import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Storage
package import Workers

/// One backup being made: from the first raw byte to the row in the catalog.
///
/// | state | holds | a failure here |
/// |---|---|---|
/// | streaming | journal row, upload, writer | upload aborted, row removed: nothing is left |
/// | uploaded | journal row, the finished object | object removed, row removed |
/// | registered | the catalog's row | `withdraw` removes row, sidecar, object |
/// | ended | nothing | |
///
/// A crash leaves the journal row; the next start removes what it names (`Engine.cleanUpAfterCrash`). The catalog row is
/// written in the same transaction that removes the journal row: that is the moment the backup exists.
///
/// One thread at a time calls it, but `cancelWriter`, which any thread may.
package final class BackupSession: FrameSink, @unchecked Sendable {
    // Safe because: the owner (a staged file's lock, or the one thread of a command) serialises all calls; `cancelWriter`
    // touches the writer alone, which is Sendable.
    package enum State: Sendable, Equatable { case streaming, uploaded, registered, ended }

    package let identifier: BackupIdentifier
    package private(set) var state = State.streaming
    package let writer: ArchiveWriter
    private let engine: Engine
    private let backend: Backend
    private let key: OrgKey
    private let recipients: [String]
    /// Given back when the upload is complete: what waits for its name, or is kept for rule 7, takes no memory.
    private var lease: PipelineLease?
    private let upload: any ObjectUpload
    private let archiveKey: ObjectKey
    private let manifestKey: ObjectKey
    private let consistency: String
    private let createdAt: Int64
    /// Until when archive and sidecar are to be locked; what the store made of it for the archive.
    private let lockEnd: Int64?
    private var lockedUntil: Int64?
    private var journal: Int64?
    /// The first bytes of the image, from which it says how long it is.
    private var head: [UInt8] = []
    private var finished: ArchiveFacts?
    private var partitions: [Partition] = []
    private let started: Int64
    private var uploadMilliseconds: Int64 = 0

    /// Starts a backup of a disk. Needs the org's key, room in the memory budget, and a backend that takes an upload, locked where
    /// `lockedUntil` says so: one that cannot gets none.
    package init(
        engine: Engine, backend: Backend, disk: DiskName, consistency: String, consistentAt: Int64? = nil,
        lockedUntil: Int64? = nil
    ) throws(EngineError) {
        self.engine = engine
        self.backend = backend
        self.consistency = consistency
        lockEnd = lockedUntil
        key = try engine.key(of: disk.org)
        let allRecipients = engine.recipients(of: key)
        recipients = allRecipients.map(\.string)
        guard let lease = PipelineLease(from: engine.pipelineMemory, settings: engine.archiveSettings) else {
            throw EngineError(
                .busy, "too many backups run at once for the memory budget",
                hint: "wait for one to end, or raise memory.budget")
        }
        self.lease = lease
        started = Self.monotonicMilliseconds
        do {
            let row: Int64
            (identifier, createdAt, row) = try Self.claimIdentifier(engine, backend, disk, consistentAt)
            let place = BackupPlace(identifier, generation: 0)
            archiveKey = try backend.archiveKey(of: place)
            manifestKey = try backend.manifestKey(of: place)
            journal = row
            do {
                upload = try backend.store.upload(archiveKey, lockedUntil: lockedUntil)
                try engine.catalog.updateUpload(row, uploadIdentifier: upload.identifier)
            } catch {
                try? engine.catalog.endUpload(row)
                throw error
            }
            do {
                writer = try ArchiveWriter(
                    settings: engine.archiveSettings, recipients: allRecipients, sink: UploadSink(upload: upload),
                    pool: engine.workers, buffers: BufferPool(capacityByteCount: lease.byteCount))
            } catch {
                upload.abort()
                try? engine.catalog.endUpload(row)
                throw error
            }
        } catch {
            throw EngineError(error, subject: "a backup of \(disk.org)/\(disk.vm)/\(disk.disk) to \"\(backend.name)\"")
        }
    }

    /// The consistent point, or the first second after it that no backup of the disk has taken; with the journal entry that takes it.
    private static func claimIdentifier(
        _ engine: Engine, _ backend: Backend, _ disk: DiskName, _ consistentAt: Int64?
    ) throws -> (BackupIdentifier, createdAt: Int64, journal: Int64) {
        var date = BackupDate(secondsSince1970: consistentAt ?? engine.clock.secondsSince1970)
        while true {
            let identifier = BackupIdentifier(
                backend: backend.name, org: disk.org, vm: disk.vm, date: date, disk: disk.disk)
            if let row = try engine.claimJournalEntry(for: BackupPlace(identifier, generation: 0), on: backend) {
                return (identifier, date.secondsSince1970, row)
            }
            date = date.next()
        }
    }

    // MARK: Streaming

    package var frameByteCount: Int { writer.settings.frameByteCount }

    /// Whoever writes by this waits as long as it takes.
    package func awaitRoom() {}

    package func takeFrameBuffer() throws -> Buffer { try writer.takeFrameBuffer() }

    package func submit(_ raw: Buffer, count: Int) throws {
        if head.count < ImageHead.byteCount {
            head.append(contentsOf: raw.prefix(min(count, ImageHead.byteCount - head.count)))
        }
        try writer.submit(raw, count: count)
    }

    /// For a writer that may be interrupted: `isGivenUp` is asked ten times a second while it waits.
    package func sink(unless isGivenUp: @escaping () -> Bool) -> some FrameSink {
        InterruptibleSink(session: self, isGivenUp: isGivenUp)
    }

    private struct InterruptibleSink: FrameSink {
        let session: BackupSession
        let isGivenUp: () -> Bool
        var frameByteCount: Int { session.frameByteCount }

        func awaitRoom() throws {
            while try !session.writer.awaitRoom(milliseconds: 100) {
                if isGivenUp() { throw FrameWindow.Interruption() }
            }
        }

        func takeFrameBuffer() throws -> Buffer { try session.takeFrameBuffer() }
        func submit(_ raw: Buffer, count: Int) throws { try session.submit(raw, count: count) }
        func submitZeroBlocks(_ blocks: UInt64) throws { try session.submitZeroBlocks(blocks) }
    }

    package func submitZeroBlocks(_ blocks: UInt64) throws {
        if head.count < ImageHead.byteCount {
            let zeros = min(UInt64(ImageHead.byteCount - head.count), blocks * UInt64(frameByteCount))
            head.append(contentsOf: repeatElement(0, count: Int(zeros)))
        }
        try writer.submitZeroBlocks(blocks)
    }

    /// Wakes whoever waits in the pipeline, with an error. Any thread; the owner must still call `abort`.
    package func cancelWriter() {
        // First: the writer's end waits for the upload, which may wait for its store. A completed one is not harmed.
        upload.abort()
        writer.cancel()
    }

    // MARK: Ending

    /// streaming → uploaded. The archive is whole, at the backend, of the right size, opens and decodes at its start, and
    /// is no shorter than the image itself, its declared size or its predecessor demand. Any failure ends the session.
    package func finishUpload(declaredByteCount: UInt64?) throws(EngineError) {
        precondition(state == .streaming, "internal error: an upload that is finished twice")
        do {
            let facts = try writer.finish()
            try checkLength(facts.rawByteCount, declared: declaredByteCount)
            finished = facts
            if let journal { try engine.catalog.updateUpload(journal, phase: .complete) }
            let stored = try upload.complete()
            state = .uploaded
            try checkStored(stored, facts)
            lockedUntil = try engine.readLock(of: archiveKey, at: backend, demanding: lockEnd)
            writer.releaseBuffers()
            lease = nil
            uploadMilliseconds = Self.monotonicMilliseconds - started
        } catch {
            let failure = EngineError(error, subject: "the backup \(identifier)")
            abort()
            throw failure
        }
    }

    /// uploaded → registered: sidecar, then the row. Any failure ends the session and leaves nothing behind.
    @discardableResult
    package func register() throws(EngineError) -> Manifest {
        guard state == .uploaded, let facts = finished else {
            preconditionFailure("internal error: a backup is registered before it is uploaded")
        }
        do {
            let manifest = manifest(facts)
            let sealed = manifest.sealed(with: key.currentSealKey)
            let sidecar = try ManifestSidecar.encrypt(sealed, to: recipients)
            _ = try sidecar.withUnsafeBytes { try backend.store.putIfAbsent(manifestKey, $0) }
            try engine.lockSidecar(manifestKey, at: backend, until: lockEnd)
            let record = BackupRecord(
                identifier: identifier, manifestJSON: sealed, archiveHeader: facts.access.header,
                seekTable: facts.access.seekTable.serialized(), rawByteCount: facts.rawByteCount,
                archiveByteCount: facts.access.archiveByteCount, dataByteCount: facts.access.seekTable.dataByteCount,
                createdAt: createdAt, lockedUntil: lockedUntil)
            try engine.catalog.register(record, finishing: journal)
            journal = nil
            state = .registered
            engine.log.info(
                "backup \(identifier): registered, \(facts.rawByteCount) bytes raw, \(facts.access.archiveByteCount) bytes stored"
            )
            return manifest
        } catch {
            let failure = EngineError(error, subject: "the backup \(identifier)")
            abort()
            throw failure
        }
    }

    /// Ends the session and removes what it has left so far. What cannot be removed now stays in the journal for the next
    /// start. Nothing happens once registered or ended.
    package func abort() {
        guard state == .streaming || state == .uploaded else { return }
        // First: the writer's end waits for the upload, which may wait for its store.
        if state == .streaming { upload.abort() }
        writer.cancel()
        do {
            try engine.clear(
                journal, failed: upload.identifier, of: BackupPlace(identifier, generation: 0), on: backend,
                header: finished?.access.header,
                isCompleted: state == .uploaded)
        } catch {
            engine.log.error("backup \(identifier): clean-up is left to the next start: \(error)")
        }
        state = .ended
    }

    /// registered → ended: takes the backup back. The row goes first, so that nobody opens what is being removed.
    package func withdraw() throws(EngineError) {
        guard state == .registered else { return }
        state = .ended
        do {
            try engine.remove(identifier)
        } catch {
            throw EngineError(error, subject: "withdrawing the backup \(identifier)")
        }
        engine.log.warning("backup \(identifier): withdrawn")
    }

    // MARK: Checks

    private func checkLength(_ rawByteCount: UInt64, declared: UInt64?) throws {
        guard rawByteCount > 0 else { throw EngineError(.emptyImage, "the image is empty") }
        if let declared, declared != rawByteCount {
            throw EngineError(
                .incompleteImage, "\(declared) bytes were declared and \(rawByteCount) came",
                hint: declared > rawByteCount ? "write the whole image; zeros at its end must be written too" : nil)
        }
        try checkClaims(of: head, rawByteCount: rawByteCount)
        guard declared == nil else { return }
        for other in engine.backends.keys {
            let last = try engine.catalog.latest(
                backend: other, org: identifier.org, vm: identifier.vm, disk: identifier.disk)
            if let last, last.rawByteCount > rawByteCount {
                throw EngineError(
                    .incompleteImage,
                    "the image has \(rawByteCount) bytes, the disk's last backup \(last.identifier) has \(last.rawByteCount)",
                    hint: "if the disk was made smaller, declare its size first (truncate -s)")
            }
        }
    }

    /// The object must have the size that was sent, as the store found it after the completion; its first frame is read back through the reader, which also finds the
    /// partitions. The writer's file key opens it, so a write-only host can do this too.
    private func checkStored(_ stored: ObjectFacts, _ facts: ArchiveFacts) throws {
        let expected = facts.access.archiveByteCount
        guard stored.byteCount == expected else {
            throw EngineError(.damaged, "\(expected) bytes were sent and \(stored.byteCount) are stored")
        }
        let source = StoredObject(store: backend.store, key: archiveKey, byteCount: expected)
        let reader = try ArchiveReader(source: source, access: facts.access, fileKey: writer.fileKey)
        let raw = RawReader(reader: reader)
        do {
            partitions =
                try PartitionTable.read(imageByteCount: facts.rawByteCount) { offset, buffer in
                    try raw.read(at: offset, into: buffer)
                }?.partitions ?? []
        } catch let error as DiskImageError {
            // A table that contradicts itself is the guest's affair: the backup is good, it shows no partitions.
            engine.log.notice("backup \(identifier): no partitions are shown: \(error)")
        }
    }

    private func manifest(_ facts: ArchiveFacts) -> Manifest {
        Manifest(
            identifier: identifier, createdAt: createdAt, region: backend.region, country: backend.country,
            rawByteCount: facts.rawByteCount, rawSHA256: facts.rawSHA256,
            archiveByteCount: facts.access.archiveByteCount, archiveSHA256: facts.archiveSHA256,
            headerSHA256: facts.access.headerSHA256,
            seekTableSHA256: SHA256Hasher.digest(of: facts.access.seekTable.serialized()),
            frameByteCount: writer.settings.frameByteCount, zstdLevel: Int(writer.settings.level),
            recipients: recipients, consistency: consistency, toolVersion: Engine.toolVersion,
            uploadMilliseconds: Int(uploadMilliseconds),
            partitions: partitions.map {
                ManifestPartition(
                    number: $0.number, rawOffset: $0.rawOffset, byteCount: $0.byteCount, type: $0.typeIdentifier,
                    name: $0.name)
            })
    }

    private static var monotonicMilliseconds: Int64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }
}
