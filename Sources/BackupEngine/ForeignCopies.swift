internal import AgeFormat
internal import Archive
internal import BackupNames
internal import CryptoPrimitives
internal import Glibc
internal import Logging
internal import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Synchronization
internal import SystemIO
internal import Workers

/// Random access to foreign archives: each gets a local copy in our own format, encrypted, when it is first read at random.
///
/// | state of a copy | who waits for it |
/// |---|---|
/// | absent | the first one to ask starts to make it, on a thread of its own |
/// | in the making | all who ask; when the last of them has given up, so has the making |
/// | there | nobody |
///
/// Copies are made one at a time, so that their memory is bounded: a decompressor's window, and the pipeline of a backup.
package final class ForeignCopies: Sendable {
    private static let intervalMilliseconds = 100
    /// A copy that is made may be gone again before it is opened, where the folder is nearly too small.
    private static let attemptLimit = 3

    /// A copy in the making.
    final class Making: Sendable {
        let isGivenUp = Atomic(false)
        let result = Monitor<Result<Void, EngineError>?>(nil)

        func throwIfGivenUp() throws(EngineError) {
            guard isGivenUp.load(ordering: .acquiring) else { return }
            throw EngineError(.cancelled, "nobody waits for the local copy any more")
        }
    }

    private struct State {
        var makings: [SHA256Digest: (making: Making, waiters: Int)] = [:]
        var isClosed = false
    }

    let folder: ForeignCopyFolder
    let log: Logger
    private let state = Monitor(State())

    init(path: String, capacityByteCount: UInt64, log: Logger) {
        folder = ForeignCopyFolder(path: path, capacityByteCount: capacityByteCount)
        self.log = log
    }

    /// Gives up what is being made, for good. Whoever waits gets `.cancelled`.
    func giveUp() {
        state.withLock { state in
            state.isClosed = true
            for entry in state.makings.values { entry.making.isGivenUp.store(true, ordering: .releasing) }
        }
    }

    /// The same, and waits for it to end.
    func close() {
        giveUp()
        state.wait { $0.makings.isEmpty ? () : nil }
    }

    /// Removes what a process that is gone left; another one that makes a copy just now does so itself.
    func removeLeftOvers() throws(Errno) {
        guard access(folder.path, F_OK) == 0, let lock = try folder.tryLock() else { return }
        try folder.removeLeftOvers()
        try lock.close()
    }

    /// A reader of the copy, made first where there is none. Blocks for as long as that takes; `isGivenUp` is asked ten times a
    /// second, and ends the wait with `.cancelled`. Throws `.noRoom` where the folder is too small.
    func reader(
        of backup: OpenBackup, _ engine: Engine, isGivenUp: () -> Bool
    ) throws(EngineError) -> ArchiveReader {
        let digest = backup.manifest.archiveSHA256
        var attempts = 0
        while attempts < Self.attemptLimit {
            if let reader = try existing(backup, engine) { return reader }
            if let making = try join(digest, backup, engine) {
                attempts += 1
                try wait(for: making, digest, isGivenUp)
            } else if isGivenUp() {
                throw EngineError(.cancelled, "the wait for the local copy was interrupted")
            }
        }
        throw EngineError(
            .noRoom, "\(backup.identifier): its local copy is gone before it can be read",
            hint: "raise `foreign` in [cache]")
    }

    /// Starts a copy, or joins those who wait for it; nil, after a moment, where one that was given up has not ended yet.
    private func join(
        _ digest: SHA256Digest, _ backup: OpenBackup, _ engine: Engine
    ) throws(EngineError) -> Making? {
        enum Turn { case closed, ending, joined(Making), started(Making) }
        let turn: Turn = state.withLockQuietly { state in
            if state.isClosed { return .closed }
            guard let known = state.makings[digest] else {
                let making = Making()
                state.makings[digest] = (making, 1)
                return .started(making)
            }
            if known.making.isGivenUp.load(ordering: .acquiring) { return .ending }
            state.makings[digest]?.waiters += 1
            return .joined(known.making)
        }
        switch turn {
        case .closed: throw EngineError(.cancelled, "the process ends")
        case .ending:
            _ = state.wait(milliseconds: Self.intervalMilliseconds) { $0.makings[digest] == nil ? () : nil }
            return nil
        case .joined(let making): return making
        case .started(let making):
            NativeThread(name: "foreign-copy") { [self] in
                let result = Result { () throws(EngineError) in try make(backup, digest, engine, making) }
                if case .failure(let error) = result, error.code != .cancelled {
                    log.error(
                        "no local copy of the foreign archive \(backup.identifier): \(error)\(error.hint.map { " (\($0))" } ?? "")"
                    )
                }
                making.result.withLock { $0 = result }
                state.withLock { $0.makings[digest] = nil }
            }.detach()
            return making
        }
    }

    private func wait(for making: Making, _ digest: SHA256Digest, _ isGivenUp: () -> Bool) throws(EngineError) {
        var result: Result<Void, EngineError>?
        repeat {
            result = making.result.wait(milliseconds: Self.intervalMilliseconds) { $0 }
        } while result == nil && !isGivenUp()
        state.withLockQuietly { state in
            guard let entry = state.makings[digest], entry.making === making else { return }
            state.makings[digest]?.waiters -= 1
            if entry.waiters <= 1 { making.isGivenUp.store(true, ordering: .releasing) }
        }
        guard let result else { throw EngineError(.cancelled, "the wait for the local copy was interrupted") }
        try result.get()
    }

    /// A reader of the copy that is there; nil where there is none. One that is not what its manifest says is removed.
    private func existing(_ backup: OpenBackup, _ engine: Engine) throws(EngineError) -> ArchiveReader? {
        let digest = backup.manifest.archiveSHA256
        let source: ForeignCopySource
        do throws(Errno) {
            let file = try OwnedFile(opening: folder.archivePath(digest), for: .read, options: [.noFollow])
            // Whoever has it alone is about to remove it.
            guard try file.tryLockShared() else { return nil }
            try? file.touch()
            let byteCount = try file.byteCount()
            source = ForeignCopySource(file, byteCount: byteCount, digest, self, "\(backup.identifier)")
        } catch {
            if error == .noEntry { return nil }
            throw ForeignCopyFolder.error(error, folder.path, folder.capacityByteCount)
        }
        let key = try engine.readingKey(of: backup.identifier.org)
        do {
            let sidecar = try readWholeFile(
                folder.manifestPath(digest), maximumByteCount: ManifestSidecar.maximumByteCount)
            let json = try ManifestSidecar.decrypt(sidecar, identities: key.identities)
            let manifest = try Manifest(verifying: json, sealKeys: key.sealKeys)
            let reader = try ArchiveReader.open(source: source, identities: key.identities)
            let table = SHA256Hasher.digest(of: reader.seekTable.serialized())
            guard manifest.rawSHA256.isEqualInConstantTime(to: backup.manifest.rawSHA256),
                manifest.rawByteCount == backup.manifest.rawByteCount, reader.rawByteCount == manifest.rawByteCount,
                source.byteCount == manifest.archiveByteCount,
                reader.access.headerSHA256.isEqualInConstantTime(to: manifest.headerSHA256),
                table.isEqualInConstantTime(to: manifest.seekTableSHA256)
            else { throw EngineError(.damaged, "the local copy is not the one that was made") }
            return reader
        } catch {
            log.warning("\(backup.identifier): its local copy does not open, and is made anew: \(error)")
            folder.remove(digest)
            return nil
        }
    }
}

/// A copy, held by whoever reads it.
final class ForeignCopySource: ArchiveSource {
    let byteCount: UInt64
    private let file: OwnedFile
    private let digest: SHA256Digest
    private let copies: ForeignCopies
    private let name: String

    init(
        _ file: consuming OwnedFile, byteCount: UInt64, _ digest: SHA256Digest, _ copies: ForeignCopies, _ name: String
    ) {
        self.file = file
        self.byteCount = byteCount
        self.digest = digest
        self.copies = copies
        self.name = name
    }

    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        do throws(Errno) {
            guard try file.read(at: archiveOffset, into: buffer) == buffer.count else { throw Errno.inputOutput }
        } catch {
            throw EngineError(.noRoom, "the local copy of \(name) cannot be read: \(error)", cause: error)
        }
    }

    /// Damaged bytes on our own disk: the next one to open the backup makes the copy anew.
    func discard(_ range: Range<UInt64>, attempt: Int) -> Int? {
        copies.log.error("the local copy of \(name) is damaged at \(range.lowerBound); it is removed")
        copies.folder.remove(digest)
        return nil
    }
}
