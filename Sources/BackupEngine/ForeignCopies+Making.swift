internal import AgeFormat
internal import Archive
internal import BackupNames
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import SystemIO
internal import Workers

extension ForeignCopies {
    /// On a thread of its own: makes a copy. It has its name when all of it is on the disk, and the image in it is the manifest's.
    func make(
        _ backup: OpenBackup, _ digest: SHA256Digest, _ engine: Engine, _ making: Making
    ) throws(EngineError) {
        do {
            let lock = try waitForLock(making)
            try folder.removeLeftOvers()
            // Another process may have made it meanwhile.
            guard (try? FileFacts.ofLink(folder.archivePath(digest))) == nil else { return }
            log.notice("\(backup.identifier): a local copy of the foreign archive is made, for reading at random")
            try folder.makeRoom(for: backup.manifest.archiveByteCount)
            let temporary = folder.temporaryPath(digest)
            do {
                try write(backup, to: temporary, engine, making)
                try FileTree.rename(temporary, to: folder.archivePath(digest))
                try syncDirectory(folder.path)
            } catch {
                try? FileTree.remove(temporary)
                throw error
            }
            try lock.close()
        } catch let error as Errno {
            throw ForeignCopyFolder.error(error, folder.path, folder.capacityByteCount)
        } catch {
            // What the folder has no room for comes from the writer's sink.
            if let error = error as? ArchiveError, let cause = error.cause as? EngineError { throw cause }
            throw EngineError(error, subject: "the local copy of \(backup.identifier)")
        }
    }

    private func waitForLock(_ making: Making) throws -> OwnedFile {
        while true {
            if let lock = try folder.tryLock() { return lock }
            try making.throwIfGivenUp()
            let _: Void? = making.result.wait(milliseconds: 100) { _ in nil }
        }
    }

    private func write(_ backup: OpenBackup, to path: String, _ engine: Engine, _ making: Making) throws {
        let key = try engine.readingKey(of: backup.identifier.org)
        let settings = engine.archiveSettings
        guard case .foreign(let payload) = backup.content else {
            preconditionFailure("internal error: a copy of an archive that has frames")
        }
        guard let lease = PipelineLease(from: engine.pipelineMemory, settings: settings) else {
            throw EngineError(.busy, "too much runs at once for the memory budget", hint: "raise memory.budget")
        }
        let sink = ForeignCopySink(
            try OwnedFile(opening: path, for: .write, options: [.create, .exclusive, .noFollow], mode: 0o600), folder)
        let writer = try ArchiveWriter(
            settings: settings, recipients: engine.recipients(of: key), sink: sink, pool: engine.workers,
            buffers: BufferPool(capacityByteCount: lease.byteCount))
        let facts: ArchiveFacts
        do {
            let result = try ForeignScan.run(
                payload, header: backup.header, source: backup.replicatedSource, workers: engine.workers,
                expectedByteCount: backup.manifest.rawByteCount, pieceByteCount: settings.frameByteCount,
                ArchiveScan.Options(
                    fetchers: engine.fetchers(of: backup.identifier.backend),
                    // On the scan's own thread, which may wait for the writer.
                    deliver: { _, pieces, done in
                        do {
                            for piece in pieces { try writer.submit(piece) }
                            done(nil)
                        } catch {
                            done(error)
                        }
                    }), progress: { _, _ in try making.throwIfGivenUp() })
            try engine.checkHash(result.outcome, of: backup)
            facts = try writer.finish()
        } catch {
            writer.cancel()
            throw error
        }
        withExtendedLifetime(lease) {}
        guard facts.rawSHA256.isEqualInConstantTime(to: backup.manifest.rawSHA256) else {
            throw EngineError(.damaged, "\(backup.identifier): the copy holds another image")
        }
        try sink.finish()
        var manifest = backup.manifest
        manifest.archiveByteCount = facts.access.archiveByteCount
        manifest.archiveSHA256 = facts.archiveSHA256
        manifest.headerSHA256 = facts.access.headerSHA256
        manifest.seekTableSHA256 = SHA256Hasher.digest(of: facts.access.seekTable.serialized())
        manifest.frameByteCount = settings.frameByteCount
        manifest.zstdLevel = Int(settings.level)
        manifest.recipients = engine.recipients(of: key).map(\.string)
        manifest.toolVersion = Engine.toolVersion
        let sidecar = try ManifestSidecar.encrypt(
            manifest.sealed(with: key.currentSealKey), to: manifest.recipients)
        let manifestPath = folder.manifestPath(backup.manifest.archiveSHA256)
        try sidecar.withUnsafeBytes { try atomicReplace(manifestPath, $0, mode: 0o600) }
    }
}

/// The file that a copy is written to, within what its folder may hold.
private final class ForeignCopySink: ArchiveSink {
    private let file: OwnedFile
    private let folder: ForeignCopyFolder
    private let offset = Monitor<UInt64>(0)

    init(_ file: consuming OwnedFile, _ folder: ForeignCopyFolder) {
        self.file = file
        self.folder = folder
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws {
        let start = offset.withLockQuietly { offset in
            defer { offset += UInt64(bytes.count) }
            return offset
        }
        try folder.makeRoom(for: UInt64(bytes.count))
        do throws(Errno) {
            try file.write(bytes, at: start)
        } catch {
            throw ForeignCopyFolder.error(error, folder.path, folder.capacityByteCount)
        }
    }

    func finish() throws { try file.synchronize() }
}

extension ArchiveWriter {
    /// Takes a piece of an image: a frame, or what is left at its end.
    fileprivate func submit(_ piece: RawPiece) throws {
        switch piece {
        case .data(let buffer, let count): try submit(buffer, count: count)
        case .zeros(let count) where count == UInt64(settings.frameByteCount): try submitZeroBlocks(1)
        case .zeros(let count):
            let buffer = try takeFrameBuffer()
            UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<Int(count)])
                .initializeMemory(as: UInt8.self, repeating: 0)
            try submit(buffer, count: Int(count))
        }
    }
}
