internal import Synchronization
internal import SystemIO

/// A file under its temporary name, until it is published.
final class LocalUpload: ObjectUpload {
    /// Write-back is started whenever this much is new. Large enough for long device writes, small enough that the
    /// device is never idle while there is something to write.
    private static let writeBackByteCount: UInt64 = 8 << 20
    /// The most that may wait in the page cache: the last `synchronize` never has more to do than this.
    private static let dirtyByteLimit: UInt64 = 64 << 20
    /// What one call copies at most, a multiple of every file system's block.
    private static let copyByteCount: UInt64 = 64 << 20
    private static let blockByteCount: UInt64 = 4096
    /// How often a folder may be removed by a deleter between its making and the publication in it.
    private static let publicationAttempts = 1000

    private enum Phase {
        case open, failed, completed, aborted
    }

    private struct State {
        var phase = Phase.open
        var byteCount: UInt64 = 0
        /// Everything before is on its way to the device.
        var startedByteCount: UInt64 = 0
        /// Everything before has reached the device.
        var finishedByteCount: UInt64 = 0
        var usesWriteBack = true
        /// nil where the file system takes no direct writes.
        var direct: DirectWriter?
    }

    let identifier: String
    private let store: LocalDirectoryStore
    private let key: ObjectKey
    private let folder: HeldFolder
    /// Locked as long as it is open, which tells others that the upload is alive.
    private let file: OwnedFile
    private let state = Mutex(State())

    init(
        store: LocalDirectoryStore, key: ObjectKey, identifier: String, folder: consuming HeldFolder,
        file: consuming OwnedFile
    ) {
        self.store = store
        self.key = key
        self.identifier = identifier
        self.folder = folder
        self.file = file
        let direct = try? self.folder.at(identifier) { DirectWriter(path: $0) }
        state.withLock { $0.direct = direct }
    }

    deinit {
        abort()
    }

    func append(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try advance("write") { (state) throws(Errno) in
            if let direct = state.direct {
                if try direct.append(bytes) {
                    state.byteCount += UInt64(bytes.count)
                    return
                }
                // Refused after all: everything so far is written or held, so go on through the page cache.
                try endDirectWriting(&state)
            }
            try file.write(bytes, at: state.byteCount)
            state.byteCount += UInt64(bytes.count)
            try writeBack(&state)
        }
    }

    func append(copying key: ObjectKey, _ range: Range<UInt64>) throws(StorageError) {
        let source = try store.openObject(key)
        guard range.upperBound <= source.facts.byteCount else {
            throw StorageError(
                .rangeNotSatisfiable, key.string,
                "the object has \(source.facts.byteCount) bytes, \(range) were asked for")
        }
        var offset = range.lowerBound
        while offset < range.upperBound {
            // One piece under the lock at a time, so that `abort` comes through. The first one ends at a whole block of the new
            // file: where both files are at the same place in a block then, the rest can share blocks.
            let position = state.withLock { $0.byteCount }
            let piece = Self.copyByteCount - position % Self.copyByteCount % Self.blockByteCount
            let part = offset..<min(range.upperBound, offset + piece)
            let isCopied = try advance("copy \"\(key)\" to") { (state) throws(Errno) in
                try endDirectWriting(&state)
                do throws(Errno) {
                    guard try file.copy(from: source.file, part, to: state.byteCount) == UInt64(part.count) else {
                        return false
                    }
                } catch {
                    switch error {
                    case .crossDevice, .invalidArgument, .notSupported, .notImplemented: return false
                    default: throw error
                    }
                }
                state.byteCount += UInt64(part.count)
                try writeBack(&state)
                return true
            }
            // What was copied of the piece is written once more.
            if !isCopied { try append(reading: key, part, from: store) }
            offset = part.upperBound
        }
    }

    /// Writes what the direct writer still holds: the last piece, which need not be a whole block.
    private func endDirectWriting(_ state: inout State) throws(Errno) {
        guard let direct = state.direct else { return }
        state.direct = nil
        try file.write(direct.held, at: direct.writtenByteCount)
    }

    func complete() throws(StorageError) -> ObjectFacts {
        try advance("complete the upload") { (state) throws(Errno) in
            try endDirectWriting(&state)
            try file.synchronize()
            let facts = try file.facts()
            guard facts.byteCount == state.byteCount else { throw .inputOutput }
            let published = try publish()
            do throws(Errno) {
                try makeNamesDurable()
            } catch {
                // Nobody was told of the object yet. It is ours, for a publication never replaces.
                try? published.at(key.lastComponent, FileTree.remove)
                throw error
            }
            state.phase = .completed
            // The facts of the published name: a rename may have changed the status time only.
            return ObjectFacts(key: key, facts)
        }
    }

    func abort() {
        state.withLock { state in
            if state.phase == .completed || state.phase == .aborted { return }
            state.phase = .aborted
            state.direct = nil
            try? folder.at(identifier, FileTree.remove)
            // The space is given back now, whoever still holds a reference; but only of a file that has no name left. A
            // publication whose answer was lost (NFS) may have made it an object.
            if let facts = try? file.facts(), facts.linkCount == 0 { try? file.truncate(to: 0) }
        }
    }

    /// One step of an open upload; an error ends it.
    private func advance<Result>(
        _ action: String, _ step: (inout State) throws(Errno) -> Result
    ) throws(StorageError) -> Result {
        try state.withLock { (state) throws(StorageError) -> Result in
            guard state.phase == .open else { throw StorageError(.changed, key.string, "the upload is over") }
            do throws(Errno) {
                return try step(&state)
            } catch {
                state.phase = .failed
                throw store.uploadError(error, key, action)
            }
        }
    }

    // MARK: Writing back

    /// Keeps the device busy from the start, so that the page cache holds little when the upload is completed.
    private func writeBack(_ state: inout State) throws(Errno) {
        guard state.usesWriteBack, state.byteCount - state.startedByteCount >= Self.writeBackByteCount else { return }
        do {
            try file.startWriteBack(state.startedByteCount..<state.byteCount)
            state.startedByteCount = state.byteCount
            guard state.byteCount - state.finishedByteCount > Self.dirtyByteLimit else { return }
            let end = state.byteCount - Self.dirtyByteLimit
            try file.finishWriteBack(state.finishedByteCount..<end)
            state.finishedByteCount = end
        } catch {
            switch error {
            // The file system has no such call: the last synchronize does it all.
            case .illegalSeek, .invalidArgument, .notImplemented, .notSupported: state.usesWriteBack = false
            default: throw error
            }
        }
    }

    // MARK: Publishing

    /// Names the file as the object, in one step, never in place of another. Returns the object's folder.
    private func publish() throws(Errno) -> HeldFolder {
        var attempts = 0
        while true {
            do {
                // The deepest last. A missing root makes the first of them fail, or the rename.
                try makeFolders()
                let held = try store.heldFolder(of: key)
                try PublicationMethod.publish(
                    identifier, in: folder, as: key.lastComponent, in: held, startingWith: store.publicationMethod)
                return held
            } catch {
                attempts += 1
                // A deleter found the new folder empty; or the upload or the root is gone.
                guard error == .noEntry, attempts < Self.publicationAttempts, isTemporaryThere() else { throw error }
            }
        }
    }

    private func makeFolders() throws(Errno) {
        let names = key.components.dropLast()
        for index in names.indices {
            let parent = try HeldFolder(names[..<index], beneath: store.path)
            do throws(Errno) {
                try parent.at(names[index]) { (path) throws(Errno) in _ = try Folder.make(path, mode: 0o700) }
            } catch {
                throw error == .exists ? .notDirectory : error
            }
        }
    }

    private func isTemporaryThere() -> Bool {
        (try? folder.at(identifier, FileFacts.ofLink)) != nil
    }

    /// Syncs every folder from the object up to the root, also those that were there: another upload may have made them
    /// an instant ago and not yet be so far. An unchanged folder costs next to nothing.
    private func makeNamesDurable() throws(Errno) {
        let names = key.components.dropLast()
        for count in (0...names.count).reversed() {
            try HeldFolder(names.prefix(count), beneath: store.path).here(syncDirectory)
        }
    }
}
