internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Logging
internal import SystemIO

extension Snapshots {
    /// Carries on, or undoes, what processes that are no more have left in the pools, and registers what is whole and has no row. What
    /// somebody works on now, and pools that are away, are left alone; what cannot be done is told in the log.
    package func cleanUpAfterCrash() {
        for pool in pools {
            let root = pool.path + "/" + SnapshotPool.folderName
            for org in names(in: root) {
                for vm in names(in: "\(root)/\(org)") {
                    for disk in names(in: "\(root)/\(org)/\(vm)") {
                        cleanUp(DiskName(org: org, vm: vm, disk: disk), in: pool)
                    }
                }
            }
        }
    }

    /// Folders whose names could be ours.
    private func names(in path: String) -> [ResourceName] {
        ((try? Folder.entries(of: path)) ?? []).filter { $0.kind == .directory }.compactMap { entry in
            entry.name.flatMap { try? ResourceName($0) }
        }.sorted()
    }

    private func cleanUp(_ disk: DiskName, in pool: SnapshotPool) {
        do {
            _ = try pool.realPath()
            try cleanUp(SnapshotFolder(pool, disk, makes: false))
        } catch let error as EngineError where error.code == .busy {
            return
        } catch {
            log.warning("what may be left of snapshots of \(disk) in the pool \(pool.name) is not looked at: \(error)")
        }
    }

    /// As the tables of `Snapshots` and `RollbackNote` have it. Whoever has the folder is the only one who works in it.
    func cleanUp(_ folder: SnapshotFolder) throws {
        try folder.remove(folder.path(SnapshotFolder.copyName))
        for entry in try Folder.entries(of: folder.path) {
            guard let name = entry.name, name.hasPrefix("."), name.hasSuffix(SnapshotFolder.temporaryEnding) else {
                continue
            }
            try folder.remove(folder.path(name))
        }
        try cleanUpRollback(folder)
        for date in try folder.dates(SnapshotFolder.doomedEnding) { try finishDeleting(date, folder) }
        let images = Set(try folder.dates(SnapshotFolder.imageEnding))
        for date in try folder.dates(SnapshotFolder.factsEnding) where !images.contains(date) {
            // Also the facts of a snapshot whose file somebody has removed; its row stays, for somebody may bring it back.
            guard try catalog.snapshot(folder.identifier(date)) == nil else { continue }
            try folder.remove(folder.factsPath(date))
        }
        for date in images.sorted() where try catalog.snapshot(folder.identifier(date)) == nil {
            try adopt(date, folder)
        }
    }

    /// Registers a snapshot that is whole, for it has its name, and that the catalog does not know.
    private func adopt(_ date: BackupDate, _ folder: SnapshotFolder) throws {
        let identifier = folder.identifier(date)
        guard let bytes = try? readWholeFile(folder.factsPath(date), maximumByteCount: SnapshotFacts.byteLimit),
            let record = SnapshotFacts(bytes)?.record(identifier),
            try FileFacts.ofLink(folder.imagePath(date)).byteCount == record.rawByteCount
        else {
            log.warning("a file in the folder of snapshots is none, and is left alone: \(identifier)")
            return
        }
        try catalog.register(record)
        log.notice("registered the snapshot \(identifier), which the catalog did not know")
    }
}
