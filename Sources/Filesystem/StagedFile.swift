internal import Archive
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Glibc
internal import Logging
internal import Synchronization
internal import Workers

/// One name in staging and the backup behind it. The eight rules of staging live here; Semantics.md quotes them.
///
/// | state | what a write does | what the closing of the writing handle does |
/// |---|---|---|
/// | empty | starts a backup, its handle becomes the writer | nothing: no backup (rule 2) |
/// | streaming | goes on, for the writer; EBUSY for others | commits, or aborts (rules 1, 3, 4, 5) |
/// | held | (dot names) withdraws and fails | nothing |
/// | committed | by the writer: withdraws and fails (rule 7); by another handle: EPERM, it must be truncated first | nothing |
/// | failed | by the writer: fails again; by another handle: EPERM, it must be truncated first | fails again |
///
/// Truncating what is committed or has failed makes it empty. A handle that wrote to an earlier image fails from then on.
///
/// `work` serialises what may block: writes, commits, aborts. `facts` is what everybody may look at without waiting.
/// Order of locks: `work` before `facts`; the staging area's own lock is never held while either is taken.
final class StagedFile: Sendable {
    /// What the holder of the work lock works with.
    private struct Work: @unchecked Sendable {
        // Safe because: only reached under the work lock.
        var session: BackupSession?
        var window: FrameWindow?
        var beginning = StagedBeginning()
        /// The handle that writes; nil before the first write.
        var writer: UInt64?
        var processes = WriterProcesses()
        /// The last write was interrupted, and what it did not take has not come again.
        var isCutShort = false
        /// Handles that wrote to an image before this one: what they write late belongs to that one.
        var formerWriters: Set<UInt64> = []

        init(formerWriters: Set<UInt64> = []) { self.formerWriters = formerWriters }
    }

    private let engine: Engine
    private let facts: Mutex<Facts>
    private let work = Mutex(Work())

    init(name: StagedName, engine: Engine) {
        self.engine = engine
        facts = Mutex(Facts(name: name, modified: engine.clock.secondsSince1970))
    }

    var snapshot: Facts { facts.withLock { $0 } }

    // MARK: Writing

    /// Returns how many bytes were taken: fewer than there are only when the writer was interrupted while it waited.
    func write(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, handle: UInt64, _ call: StagedCall
    ) throws -> Int {
        guard offset <= Self.byteLimit - UInt64(bytes.count) else {
            throw FileSystemError(.tooLarge, "an image has at most \(Self.byteLimit >> 40) TiB")
        }
        guard !bytes.isEmpty else { return 0 }
        return try work.withLock { work in
            if isProbe(bytes, offset) { return bytes.count }
            try prepare(&work, handle: handle, call)
            work.processes.insert(thread: call.thread)
            call.noteWriter()
            work.isCutShort = true
            guard let session = work.session else { preconditionFailure("internal error: streaming without a session") }
            let count: Int
            do {
                count = try work.window?.write(bytes, at: offset, to: session.sink { call.hasGivenUp }) ?? 0
            } catch is FrameWindow.Interruption {
                throw FileSystemError(.interrupted, "the write was interrupted")
            } catch {
                throw fail(&work, writeFailure(error, offset))
            }
            work.isCutShort = count < bytes.count
            let highWater = work.window?.highWater ?? 0
            facts.withLock { facts in
                // `ftruncate` may have set the end further up.
                facts.receivedByteCount = max(facts.receivedByteCount, highWater)
                facts.modified = engine.clock.secondsSince1970
            }
            return count
        }
    }

    /// `qemu-img` makes its target so: it declares the size, writes one block of zeros to find out about alignment, closes, and
    /// opens again for the image. That block starts no backup; its zeros are what a gap reads as anyway.
    private func isProbe(_ bytes: UnsafeRawBufferPointer, _ offset: UInt64) -> Bool {
        let now = snapshot
        guard now.state == .empty, !now.isRemoved, let declared = now.declaredByteCount else { return false }
        let end = offset + UInt64(bytes.count)
        return end <= Self.probeByteCount && end < declared && bytes.allSatisfy { $0 == 0 }
    }

    private static let probeByteCount: UInt64 = 4096
    /// Far beyond any disk: a gap is hashed as zeros, and one of exabytes would never end.
    private static let byteLimit: UInt64 = 64 << 40

    /// Brings the file into the state streaming for this handle, or throws why not.
    private func prepare(_ work: inout Work, handle: UInt64, _ call: StagedCall) throws {
        let now = snapshot
        guard !work.formerWriters.contains(handle) else {
            throw FileSystemError(.inputOutput, "the image that this handle wrote has ended: open the file anew")
        }
        switch now.state {
        case .held, .committed:
            if work.writer == handle {
                // Rule 7: what was committed is not what the writer meant.
                let session = work.session
                work.session = nil
                withdraw(session, now.state)
                throw fail(&work, EngineError(.incompleteImage, "written to after the commit; the backup is withdrawn"))
            }
            guard now.state != .held else {
                throw FileSystemError(.busy, "\(now.name.fileName) waits to be renamed")
            }
            // It reads as the committed image; but what is not written anew would be zeros.
            throw FileSystemError(.notPermitted, "\(now.name.fileName) is committed: truncate or remove it first")
        case _ where now.isRemoved:
            throw FileSystemError(.inputOutput, "the staged file was removed")
        case .empty:
            try start(&work, handle, now, call)
        case .streaming:
            guard work.writer == handle else {
                throw FileSystemError(.busy, "another writer streams \(now.name.fileName)")
            }
        case .committing:
            throw FileSystemError(.busy, "\(now.name.fileName) is being committed")
        case .failed(let reason):
            if work.writer == handle { throw FileSystemError(.inputOutput, reason) }
            throw FileSystemError(.notPermitted, "\(now.name.fileName) has failed: truncate or remove it first")
        }
    }

    /// Takes back what is uploaded or registered. What cannot be taken back stays, and the log says so.
    private func withdraw(_ session: BackupSession?, _ state: State) {
        if state == .held { return session?.abort() ?? () }
        do {
            try session?.withdraw()
        } catch {
            engine.log.critical("\(error)")
        }
    }

    private func start(_ work: inout Work, _ handle: UInt64, _ now: Facts, _ call: StagedCall) throws {
        guard work.beginning.isFree(for: handle) else {
            throw FileSystemError(.busy, "another writer begins \(now.name.fileName)")
        }
        let begun: BackupSession?
        do throws(EngineError) {
            begun = try work.beginning.wait(for: handle, unless: call) { [engine] () throws(EngineError) in
                try BackupSession(
                    engine: engine, backend: engine.backend(now.name.folder.backend), disk: now.name.diskName,
                    consistency: "none")
            }
        } catch {
            throw fail(&work, error, handle: handle)
        }
        guard let session = begun else { throw FileSystemError(.interrupted, "the write was interrupted") }
        work.session = session
        work.window = FrameWindow(frameByteCount: session.frameByteCount)
        work.writer = handle
        facts.withLock { facts in
            facts.state = .streaming
            facts.receivedByteCount = 0
            facts.identifier = nil
            facts.session = session
            facts.cancelReason = nil
        }
        engine.log.info("staging \(session.identifier): started")
    }

    private func writeFailure(_ error: any Error, _ offset: UInt64) -> EngineError {
        if case FrameWindow.Failure.behind(let streamOffset)? = error as? FrameWindow.Failure {
            return EngineError(
                .incompleteImage,
                "a write at \(offset) comes too late: the image is streamed in order and stands at \(streamOffset)")
        }
        return endFailure(error)
    }

    /// What ended a backup: why it was cancelled, if it was.
    private func endFailure(_ error: any Error) -> EngineError {
        if let reason = snapshot.cancelReason { return EngineError(.cancelled, reason) }
        return EngineError(error, subject: "staging \(snapshot.name.fileName)")
    }

    /// Wakes what waits for the backup that streams now, with an error. Any thread; does not wait for it.
    func cancel(_ reason: String) {
        let session = facts.withLock { facts in
            if facts.session != nil { facts.cancelReason = reason }
            return facts.session
        }
        session?.cancelWriter()
    }

    // MARK: Sizes

    /// `truncate`: before anything is written it declares the size; while streaming it may set the end behind what came.
    func setByteCount(_ byteCount: UInt64, handle: UInt64?) throws {
        guard byteCount <= Self.byteLimit else {
            throw FileSystemError(.tooLarge, "an image has at most \(Self.byteLimit >> 40) TiB")
        }
        try work.withLock { work in
            let now = snapshot
            guard !now.isRemoved else { throw FileSystemError(.inputOutput, "the staged file was removed") }
            switch now.state {
            case .streaming:
                guard work.writer == handle else {
                    throw FileSystemError(.busy, "another writer streams \(now.name.fileName)")
                }
                guard byteCount >= now.receivedByteCount else {
                    throw fail(
                        &work, EngineError(.incompleteImage, "truncated to \(byteCount) bytes while being streamed"))
                }
                // Zeros up to there; they count as having come.
                facts.withLock { $0.receivedByteCount = byteCount }
            case .committing:
                throw FileSystemError(.busy, "\(now.name.fileName) is being committed")
            case .held:
                guard byteCount == now.receivedByteCount else {
                    throw FileSystemError(.busy, "\(now.name.fileName) waits to be renamed")
                }
            case .committed where byteCount == now.receivedByteCount:
                return
            case .committed where handle != nil && work.writer == handle:
                let session = work.session
                work.session = nil
                withdraw(session, now.state)
                throw fail(&work, EngineError(.incompleteImage, "truncated after the commit; the backup is withdrawn"))
            case .empty, .committed, .failed:
                reset(&work, declaredByteCount: byteCount, by: handle)
            }
        }
    }

    /// `open` with O_TRUNC: a new image is about to come. The backup made under this name before stays.
    func truncateForNewImage() throws {
        try work.withLock { work in
            switch snapshot.state {
            case .streaming, .committing, .held:
                throw FileSystemError(.busy, "another writer streams \(snapshot.name.fileName)")
            case .empty, .committed, .failed:
                reset(&work, declaredByteCount: 0, by: nil)
            }
        }
    }

    private func reset(_ work: inout Work, declaredByteCount: UInt64, by handle: UInt64?) {
        var formerWriters = work.formerWriters
        work.beginning.abandon()
        if let writer = work.writer, writer != handle { formerWriters.insert(writer) }
        work = Work(formerWriters: formerWriters)
        facts.withLock { facts in
            facts.state = .empty
            facts.declaredByteCount = declaredByteCount > 0 ? declaredByteCount : nil
            facts.receivedByteCount = 0
            facts.identifier = nil
            facts.session = nil
            facts.modified = engine.clock.secondsSince1970
        }
    }

    /// A handle that may write must not find a stream of somebody else.
    func checkWritable() throws {
        let now = snapshot
        if now.state == .streaming || now.state == .committing || now.state == .held {
            throw FileSystemError(.busy, "another writer streams \(now.name.fileName)")
        }
    }

    // MARK: Ending

    /// `close` by a thread of a process that wrote: commits what this handle streamed, and returns when it is registered (rule 1).
    /// The closing of a copy of the descriptor by a process that wrote nothing says nothing.
    func flush(handle: UInt64, _ call: StagedCall) throws {
        let thread = call.thread
        try work.withLock { work in
            guard work.writer == handle else { return }
            let now = snapshot
            // Rule 3 goes on while anybody has the file open: a script that fails after its first writer is done.
            switch now.state {
            case .held, .committed:
                guard let death = WriterProcesses.death(of: thread) else { return }
                let session = work.session
                work.session = nil
                withdraw(session, now.state)
                throw fail(
                    &work,
                    EngineError(.cancelled, "process \(thread), with the file open, \(death); the backup is withdrawn"))
            case .empty, .streaming, .committing, .failed:
                break
            }
            guard work.processes.contains(thread: thread) else { return }
            call.noteWriter()
            switch now.state {
            case .empty, .held, .committed, .committing:
                return
            case .failed(let reason):
                throw FileSystemError(.inputOutput, reason)
            case .streaming:
                if let death = WriterProcesses.death(of: thread) {
                    throw fail(&work, EngineError(.cancelled, "the writer (process \(thread)) \(death)"))
                }
                guard !work.isCutShort else {
                    throw fail(
                        &work, EngineError(.cancelled, "closed after an interrupted write that was not repeated"))
                }
                try commit(&work, now)
            }
        }
    }

    private func commit(_ work: inout Work, _ now: Facts) throws {
        guard let session = work.session else { preconditionFailure("internal error: streaming without a session") }
        facts.withLock { $0.state = .committing }
        do {
            let end = max(now.receivedByteCount, work.window?.highWater ?? 0)
            try work.window?.finish(rawByteCount: end, to: session)
            work.window = nil
            try session.finishUpload(declaredByteCount: now.declaredByteCount)
            if !now.name.isHidden { try session.register() }
        } catch {
            // Whatever the reason: close answers EIO, and the status file says why.
            let failure = fail(&work, endFailure(error))
            throw FileSystemError(.inputOutput, failure.detail)
        }
        facts.withLock { facts in
            facts.state = now.name.isHidden ? .held : .committed(session.identifier)
            facts.identifier = session.identifier
            facts.session = nil
        }
    }

    /// `fsync`: what was sent so far is at the backend, or this says why not.
    func synchronize(handle: UInt64, _ call: StagedCall) throws {
        try work.withLock { work in
            if case .failed(let reason) = snapshot.state, work.writer == handle {
                throw FileSystemError(.inputOutput, reason)
            }
            guard work.writer == handle, snapshot.state == .streaming, let session = work.session else { return }
            if work.processes.contains(thread: call.thread) { call.noteWriter() }
            do {
                try session.writer.flush()
            } catch {
                throw fail(&work, endFailure(error))
            }
        }
    }

    /// The last reference of a handle is gone. Its flush came before and committed; what still streams was never closed.
    func release(handle: UInt64) {
        work.withLock { work in
            work.formerWriters.remove(handle)
            work.beginning.abandon(by: handle)
            guard work.writer == handle else { return }
            if snapshot.state == .streaming {
                _ = fail(&work, EngineError(.cancelled, "the file was released without being closed"))
            }
            work.writer = nil
            if case .committed = snapshot.state { work.session = nil }
        }
    }

    /// `unlink`, or the end of the daemon: aborts what streams or is held and leaves nothing behind (rule 8).
    func remove(reason: String) {
        let session = facts.withLock { facts in
            facts.isRemoved = true
            return facts.session
        }
        // Wakes a writer that waits in the pipeline; then the work lock comes free.
        session?.cancelWriter()
        work.withLock { work in
            work.beginning.abandon()
            switch snapshot.state {
            case .streaming, .held: _ = fail(&work, EngineError(.cancelled, reason))
            case .empty, .committing, .committed, .failed: break
            }
        }
    }

    /// `mv` of a held image to its final name: registers it (rule 6).
    func rename(to name: StagedName) throws {
        try work.withLock { work in
            let now = snapshot
            switch now.state {
            case .streaming, .committing:
                throw FileSystemError(.busy, "\(now.name.fileName) is still being written")
            case .held where !name.isHidden:
                guard let session = work.session, session.identifier.disk == name.disk else {
                    throw FileSystemError(
                        .invalid,
                        "\(now.name.fileName) is an image of disk \"\(now.name.disk)\", not of \"\(name.disk)\"")
                }
                do throws(EngineError) {
                    try session.register()
                } catch {
                    throw fail(&work, error)
                }
                // Kept for rule 7 while the writer has the file open.
                if work.writer == nil { work.session = nil }
                facts.withLock { $0.state = .committed(session.identifier) }
            case .committed:
                throw FileSystemError(.notPermitted, "\(now.name.fileName) is registered already")
            case .empty where now.name.isHidden && !name.isHidden:
                throw FileSystemError(.invalid, "nothing was written to \(now.name.fileName)")
            case .failed(let reason) where now.name.isHidden && !name.isHidden:
                throw FileSystemError(.inputOutput, reason)
            case .empty, .held, .failed:
                guard name.disk == now.name.disk else {
                    throw FileSystemError(.invalid, "another disk's name")
                }
            }
            facts.withLock { $0.name = name }
        }
    }

    /// Ends a session that is still open and notes why. Returns what the caller throws.
    private func fail(_ work: inout Work, _ error: EngineError, handle: UInt64? = nil) -> FileSystemError {
        work.session?.abort()
        work.session = nil
        work.window = nil
        if let handle { work.writer = handle }
        let reason = error.detail + (error.hint.map { " (\($0))" } ?? "")
        facts.withLock { facts in
            facts.state = .failed(reason)
            facts.session = nil
        }
        engine.log.error(
            "staging \(snapshot.name.folder.org)/\(snapshot.name.folder.vm)/\(snapshot.name.fileName): \(reason)")
        let mapped = FileSystemError(error)
        // What is wrong with the image itself is an I/O error of the write or close that shows it.
        return mapped.code == .notAuthentic || mapped.code == .notFound
            ? FileSystemError(.inputOutput, reason) : FileSystemError(mapped.code, reason)
    }
}
