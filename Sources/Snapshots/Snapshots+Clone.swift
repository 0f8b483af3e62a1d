package import BackupEngine
internal import BackupNames
package import Catalog
internal import SystemIO

extension Snapshots {
    /// Makes a new disk image of a snapshot, in the same pool: a full copy that is verified before it gets its name. A name that is
    /// there is `.alreadyExists`. Returns the path.
    @discardableResult
    package func clone(
        _ record: SnapshotRecord, to path: String, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> String {
        do {
            let pool = try pool(record.identifier.pool)
            let target = try target(path, in: pool)
            let folder = try folder(of: record)
            try cleanUp(folder)
            let place = Folder.parentPath(of: target)
            guard try FileFacts.of(place).device == FileFacts.of(folder.path).device else {
                throw EngineError(
                    .target, "\"\(path)\" is on another file system, or subvolume, than the snapshots of its pool",
                    hint: "clone into the pool's own folder, and move the image from there")
            }
            try demandRoom(for: record.dataByteCount, in: place, pool)
            let copyPath = folder.path(SnapshotFolder.copyName)
            do {
                let copy = try ImageCopy(making: copyPath, ofByteCount: record.rawByteCount)
                try read(record, in: folder, to: copy, progress)
                _ = try copy.finishFile()
                try Self.place(copyPath, at: target)
            } catch {
                try? folder.remove(copyPath)
                throw error
            }
            try syncDirectory(place)
            try folder.synchronize()
            return target
        } catch {
            throw EngineError(error, subject: "a clone of \(record.identifier)")
        }
    }

    private static func exists(_ path: String) -> EngineError {
        EngineError(.alreadyExists, "\"\(path)\" exists; a clone is a new disk, and replaces nothing")
    }

    private static func place(_ copyPath: String, at target: String) throws(EngineError) {
        do throws(Errno) {
            try FileTree.renameWithoutReplacing(copyPath, to: target)
        } catch {
            throw error == .exists
                ? exists(target) : EngineError(.target, "\"\(target)\" cannot be made: \(error)", cause: error)
        }
    }

    /// The path without links, looked at before any work.
    private func target(_ path: String, in pool: SnapshotPool) throws(EngineError) -> String {
        let real = try pool.realPath()
        let name = path.split(separator: "/", omittingEmptySubsequences: false).last.map(String.init) ?? ""
        guard !name.isEmpty, name != ".", name != ".." else {
            throw EngineError(.target, "\"\(path)\" is not the name of a new file")
        }
        let place = try resolved(Folder.parentPath(of: path), "the folder of \"\(path)\"")
        let target = (place == "/" ? "" : place) + "/" + name
        guard SnapshotPool.holds(target, in: real) else {
            throw EngineError(
                .target, "\"\(path)\" is not in the pool \"\(pool.name)\": a clone stays in the pool of its snapshot",
                hint: "name a new file below \(pool.path)")
        }
        guard (try? FileFacts.ofLink(target)) == nil else { throw Self.exists(path) }
        return target
    }
}
