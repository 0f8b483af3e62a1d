internal import Archive

extension Engine {
    /// One pass over the image of a backup, from front to back, whatever its archive is made of: each chunk authenticated, everything
    /// hashed, the pieces handed on in order. What `ArchiveScan` and `ForeignScan` promise holds; a foreign archive knows no
    /// frames, so that `options.supply` is of no use there.
    func pass(
        over backup: OpenBackup, from source: any ArchiveSource, _ options: ArchiveScan.Options,
        progress: (UInt64) throws -> Void
    ) throws -> ArchiveScan.Outcome {
        switch backup.content {
        case .frames(let reader):
            return try ArchiveScan.run(
                reader, source: source, workers: workers, decoders: decoders, options, progress: progress)
        case .foreign(let reader):
            return try ForeignScan.run(
                reader, header: backup.header, source: source, workers: workers,
                expectedByteCount: backup.rawByteCount, options, progress: { raw, _ in try progress(raw) }
            ).outcome
        }
    }
}
