internal import Archive
package import BackupNames
internal import Catalog
package import CryptoPrimitives
internal import Manifest
internal import OrgKeys
internal import SeekableZstd
internal import Storage
internal import Workers

/// How much of a backup is looked at.
package enum VerificationDepth: String, Sendable, CaseIterable {
    /// The archive's size and SHA-256, against the manifest. Needs no key that reads.
    case archive
    /// Every byte of the archive, every frame, and the SHA-256 of the raw image.
    case everything
}

/// What a verification found to be right. What is wrong is thrown.
package struct VerificationResult: Sendable {
    package let identifier: BackupIdentifier
    package let archiveByteCount: UInt64
    package let archiveSHA256: SHA256Digest
    /// nil where only the archive was looked at.
    package let rawSHA256: SHA256Digest?
    package let rawByteCount: UInt64
}

/// How far a long operation is: bytes done of bytes in all.
package typealias ProgressReport = (_ done: UInt64, _ total: UInt64) throws -> Void

extension Engine {
    /// Verifies a registered backup. Throws `.swapped`, `.truncated`, `.damaged`, `.notAuthentic`, … naming the place.
    package func verify(
        _ identifier: BackupIdentifier, _ depth: VerificationDepth, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> VerificationResult {
        switch depth {
        case .archive: return try verifyArchive(identifier, progress)
        case .everything:
            let backup = try open(identifier)
            return try verify(backup, progress)
        }
    }

    /// Verifies an opened backup through and through, in one pass.
    /// Reads the archive at the backend, whatever copy there is, unless another source is given. `deliver` gets the raw image on the way; what it was given is proven only when this returns.
    func verify(
        _ backup: OpenBackup, from source: (any ArchiveSource)? = nil, deliver: ArchiveScan.Delivery? = nil,
        _ progress: ProgressReport
    ) throws(EngineError) -> VerificationResult {
        try checkStoredHeader(of: backup)
        let manifest = backup.manifest
        let hashes: ArchiveScan.Hashes
        do {
            hashes = try ArchiveScan.run(
                backup.reader, source: source ?? backup.source, workers: workers, decoders: decoders,
                fetchers: fetchers(of: backup.identifier.backend), deliver: deliver,
                progress: { try progress($0, manifest.rawByteCount) })
        } catch {
            throw EngineError(error, subject: "\(backup.identifier)")
        }
        guard hashes.archiveSHA256.isEqualInConstantTime(to: manifest.archiveSHA256) else {
            throw EngineError(
                .damaged,
                "\(backup.identifier): the archive's SHA-256 is \(hashes.archiveSHA256), not \(manifest.archiveSHA256)")
        }
        guard hashes.rawSHA256.isEqualInConstantTime(to: manifest.rawSHA256) else {
            throw EngineError(
                .damaged, "\(backup.identifier): the image's SHA-256 is \(hashes.rawSHA256), not \(manifest.rawSHA256)")
        }
        return VerificationResult(
            identifier: backup.identifier, archiveByteCount: manifest.archiveByteCount,
            archiveSHA256: hashes.archiveSHA256, rawSHA256: hashes.rawSHA256, rawByteCount: manifest.rawByteCount)
    }

    /// Size and SHA-256 of the stored archive. The manifest's MAC is checked where this host has a key of the org; the hash
    /// itself needs none.
    private func verifyArchive(
        _ identifier: BackupIdentifier, _ progress: ProgressReport
    ) throws(EngineError) -> VerificationResult {
        let backend = try backend(identifier.backend)
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            let manifest = try archiveManifest(of: record)
            let key = try backend.archiveKey(of: identifier)
            let stored = try backend.store.head(key)
            guard stored.byteCount == manifest.archiveByteCount else {
                throw EngineError(
                    .truncated,
                    "\(identifier): the archive has \(stored.byteCount) bytes, \(manifest.archiveByteCount) are registered"
                )
            }
            var hasher = SHA256Hasher()
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            var offset: UInt64 = 0
            while offset < stored.byteCount {
                let count = Int(min(UInt64(buffer.count), stored.byteCount - offset))
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                try backend.store.read(key, at: offset, into: part)
                hasher.update(UnsafeRawBufferPointer(part))
                offset += UInt64(count)
                try progress(offset, stored.byteCount)
            }
            let digest = hasher.finalize()
            guard digest.isEqualInConstantTime(to: manifest.archiveSHA256) else {
                throw EngineError(
                    .damaged, "\(identifier): the archive's SHA-256 is \(digest), not \(manifest.archiveSHA256)")
            }
            return VerificationResult(
                identifier: identifier, archiveByteCount: stored.byteCount, archiveSHA256: digest, rawSHA256: nil,
                rawByteCount: manifest.rawByteCount)
        } catch {
            throw EngineError(error, subject: "\(identifier)")
        }
    }

    /// Verified where this host has a key of the org; only where it has none is the manifest taken as the catalog holds it.
    private func archiveManifest(of record: BackupRecord) throws -> Manifest {
        do throws(KeyError) {
            _ = try keys.key(for: record.identifier.org)
        } catch {
            guard error.code == .absent else { throw error }
            return try Manifest(unverified: record.manifestJSON)
        }
        return try manifest(of: record).manifest
    }
}
