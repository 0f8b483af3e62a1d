internal import Archive
internal import BackupNames
internal import CryptoPrimitives
internal import Manifest
internal import Storage
internal import Workers

extension Engine {
    /// Size and SHA-256 of the stored archive, read by several threads ahead of the one that hashes.
    func checkArchive(
        _ place: BackupPlace, _ expected: Manifest, _ report: inout CheckReport, _ progress: ProgressReport
    ) throws {
        let identifier = place.identifier
        let backend = try backend(identifier.backend)
        let key = try backend.archiveKey(of: place)
        let stored = try backend.store.head(key)
        guard stored.byteCount == expected.archiveByteCount else {
            report.findings.append(
                CheckFinding(
                    EngineError(
                        .truncated,
                        "\(identifier): the archive has \(stored.byteCount) bytes, \(expected.archiveByteCount) are registered"
                    )))
            return
        }
        let source = StoredObject(store: backend.store, key: key, byteCount: stored.byteCount)
        let digest = try ArchiveHash.compute(
            of: source, fetchers: fetchers(of: identifier.backend), isRemote: backend.isRemote, progress)
        report.archiveSHA256 = digest
        report.fetchedByteCount += stored.byteCount
        guard digest.isEqualInConstantTime(to: expected.archiveSHA256) else {
            report.findings.append(
                CheckFinding(
                    EngineError(
                        .damaged, "\(identifier): the archive's SHA-256 is \(digest), not \(expected.archiveSHA256)",
                        hint: "where this host can read, `holdfast verify --raw` names the place")))
            return
        }
    }
}

/// The SHA-256 of an archive as it is stored.
enum ArchiveHash {
    /// From a folder small parts, which stay in the processor's cache between the copy and the hash; from far away large ones.
    private static func shape(isRemote: Bool) -> (partByteCount: Int, partsAhead: Int) {
        isRemote ? (4 << 20, 12) : (512 << 10, 4)
    }

    private typealias Part = Monitor<Result<Buffer, any Error>?>

    /// Fetches parts ahead on `fetchers`; hashes on this thread. Blocks.
    static func compute(
        of source: any ArchiveSource, fetchers: WorkerPool, isRemote: Bool, _ progress: ProgressReport = { _, _ in },
        and take: (UnsafeRawBufferPointer) throws -> Void = { _ in }
    ) throws -> SHA256Digest {
        let total = source.byteCount
        let (partByteCount, partsAhead) = shape(isRemote: isRemote)
        let memory = BufferPool(capacityByteCount: Int.max / 2)
        var hasher = SHA256Hasher()
        var ahead: [(part: Part, count: Int)] = []
        var next: UInt64 = 0
        var done: UInt64 = 0
        // Nobody may still write into memory of a pool that is gone.
        defer { for entry in ahead { _ = entry.part.wait { $0 } } }
        while done < total {
            while ahead.count < min(partsAhead, fetchers.threadCount), next < total {
                let offset = next
                let count = Int(min(UInt64(partByteCount), total - offset))
                let part = Part(nil)
                fetchers.submit(.ordinary) {
                    let result = Result<Buffer, any Error> {
                        let buffer = memory.takeWaiting(byteCount: count)
                        try source.read(
                            at: offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count]))
                        return buffer
                    }
                    part.withLock { $0 = result }
                }
                ahead.append((part, count))
                next += UInt64(count)
            }
            let first = ahead.removeFirst()
            let buffer = try first.part.wait { $0 }.get()
            let bytes = buffer.prefix(first.count)
            hasher.update(bytes)
            try take(bytes)
            done += UInt64(first.count)
            try progress(done, total)
        }
        return hasher.finalize()
    }
}
