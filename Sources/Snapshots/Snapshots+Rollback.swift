package import BackupEngine
internal import BackupNames
package import Catalog
internal import Logging
internal import SystemIO

extension Snapshots {
    /// Puts a snapshot in the place of its disk's image: a full copy beside it, verified while it is written, which takes the image's name in one
    /// step. The states are those of `RollbackNote`.
    ///
    /// `.targetInUse` where anybody has the image open, or opens it before the end: the image is then as it was. Owner, group, mode and
    /// extended attributes of the image are kept.
    package func rollBack(
        _ record: SnapshotRecord, image: PooledImage, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) {
        do {
            let folder = try folder(of: record)
            try cleanUp(folder)
            let claim = try ImageClaim(image.path)
            guard claim.facts.linkCount == 1 else {
                throw EngineError(
                    .target,
                    "the image \"\(image.path)\" has a second name (a hard link), which would stay the old image",
                    hint: "holdfast snapshot clone")
            }
            let note = RollbackNote(
                image: image.path, date: BackupDate(secondsSince1970: clock.secondsSince1970))
            for path in [note.copyPath, note.replacedPath] where (try? FileFacts.ofLink(path)) != nil {
                throw EngineError(.target, "\"\(path)\" is in the way of a rollback, and is none of ours")
            }
            try demandRoom(for: record.dataByteCount, in: note.folder, image.pool)
            try note.bytes.withUnsafeBytes {
                try atomicReplace(folder.path(SnapshotFolder.rollbackName), $0, mode: 0o600)
            }
            do {
                try exchange(record, claim, note, folder, progress)
            } catch {
                // Whatever went wrong, the image is the old one.
                try? cleanUpRollback(folder)
                throw error
            }
            try cleanUpRollback(folder)
        } catch {
            throw EngineError(error, subject: "rolling back to \(record.identifier)")
        }
    }

    private func exchange(
        _ record: SnapshotRecord, _ claim: ImageClaim, _ note: RollbackNote, _ folder: SnapshotFolder,
        _ progress: ProgressReport
    ) throws {
        let copy = try ImageCopy(making: note.copyPath, ofByteCount: record.rawByteCount, toReplace: claim)
        try read(record, in: folder, to: copy) { done, total in
            try claim.demandUndisturbed()
            try progress(done, total)
        }
        _ = try copy.finishFile(toReplace: claim)
        try claim.demandAlone(at: note.image)
        try FileTree.link(note.image, to: note.replacedPath)
        try syncDirectory(note.folder)
        try FileTree.rename(note.copyPath, to: note.image)
        do {
            try syncDirectory(note.folder)
            // Whoever opened the old image in the last moment still waits for the lease: he gets it, and by its own name.
            try claim.demandAlone(at: note.replacedPath)
        } catch {
            try FileTree.rename(note.replacedPath, to: note.image)
            throw error
        }
    }

    /// Carries on or undoes what is left of a rollback.
    func cleanUpRollback(_ folder: SnapshotFolder) throws {
        let notePath = folder.path(SnapshotFolder.rollbackName)
        let bytes: [UInt8]
        do throws(Errno) {
            bytes = try readWholeFile(notePath, maximumByteCount: RollbackNote.byteLimit)
        } catch {
            if error == .noEntry { return }
            throw error
        }
        guard let note = RollbackNote(bytes) else {
            throw EngineError(
                .source, "the note of a rollback of \(folder.disk) is none: \"\(SnapshotFolder.rollbackName)\"")
        }
        // First the new image, so that it is seen from what is left whether it has taken the place.
        try folder.remove(note.copyPath)
        if (try? FileFacts.ofLink(note.image)) != nil {
            // What took the place stays there, also after a power cut, before the replaced one goes.
            try syncDirectory(note.folder)
            try folder.remove(note.replacedPath)
        } else if (try? FileFacts.ofLink(note.replacedPath)) != nil {
            // Nothing of ours leaves no image. Whoever removed it may want this one.
            log.error("\"\(note.image)\" is gone, and what it replaced is kept: \"\(note.replacedPath)\"")
        }
        try folder.remove(notePath)
        try folder.synchronize()
    }
}
