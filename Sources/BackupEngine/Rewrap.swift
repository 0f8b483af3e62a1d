internal import AgeFormat
internal import Archive
package import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Logging
internal import Manifest
internal import OrgKeys
internal import Storage

/// A backup whose file key is not wrapped for the org's current key and recovery recipients, and for nobody else.
package struct RewrapNeed: Sendable {
    package let identifier: BackupIdentifier
    package let archiveByteCount: UInt64
    /// The payload does not pass through this host to be copied.
    package let isCopiedInPlace: Bool

    /// What a rewrap reads: the new archive, to prove it, and the old one where it cannot be copied in place.
    package var readByteCount: UInt64 { isCopiedInPlace ? archiveByteCount : 2 * archiveByteCount }
}

/// What a rewrap came to.
package enum RewrapResult: Sendable {
    case rewrapped
    /// The backup is the new one; the old objects could not be removed. They stay in the journal, and every start tries again.
    case rewrappedWithRemains(EngineError)
    /// There was nothing to do, or somebody else was faster.
    case current
}

/// Wrapping an archive's file key anew: another age header before the same nonce and payload, as a new generation
/// (`GenerationChange`). The payload is copied where it lies.
extension Engine {
    /// The backups of an org that need it, by name. Neither asks a backend for anything but what it can do.
    package func backupsToRewrap(
        _ org: ResourceName, where isMeant: (BackupIdentifier) -> Bool = { _ in true }
    ) throws(EngineError) -> [RewrapNeed] {
        let key = try readingKey(of: org)
        do {
            var inPlace: [ResourceName: Bool] = [:]
            var needs: [RewrapNeed] = []
            for backup in try catalog.allBackups() where backup.identifier.org == org && isMeant(backup.identifier) {
                guard let record = try catalog.access(backup.identifier),
                    try !isWrapped(manifest(of: record).manifest, for: recipients(of: key))
                else { continue }
                let name = backup.identifier.backend
                let isInPlace = try inPlace[name] ?? backend(name).store.copiesInPlace()
                inPlace[name] = isInPlace
                needs.append(
                    RewrapNeed(
                        identifier: backup.identifier, archiveByteCount: backup.archiveByteCount,
                        isCopiedInPlace: isInPlace))
            }
            return needs
        } catch {
            throw EngineError(error, subject: "the backups of org \"\(org)\"")
        }
    }

    /// Wraps the file key of one backup for the org's current key and recovery recipients. `progress` tells of the proof.
    package func rewrap(
        _ identifier: BackupIdentifier, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> RewrapResult {
        do {
            guard let record = try catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            // Whatever is wrong with key, row or header is said here.
            let old = try open(identifier)
            let key = try readingKey(of: identifier.org)
            let recipients = recipients(of: key)
            guard !isWrapped(old.manifest, for: recipients) else { return .current }
            let header = try newHeader(of: record, old.manifest, key, recipients)
            do {
                let change = try GenerationChange(
                    engine: self, record, old.manifest, header: header, recipients: recipients.map(\.string),
                    sealKey: key.currentSealKey)
                let result = try change.run(progress) { upload, backend in
                    try header.withUnsafeBytes { try upload.append($0) }
                    try upload.append(
                        copying: backend.archiveKey(of: record.place),
                        UInt64(record.archiveHeader.count)..<record.archiveByteCount)
                }
                switch result {
                case .done:
                    log.info(
                        "backup \(identifier): wrapped anew for \(key.recipient), generation \(change.place.generation)"
                    )
                    return .rewrapped
                case .doneWithRemains(let error): return .rewrappedWithRemains(error)
                case .overtaken: return .current
                }
            } catch {
                // Another host or process has done the same, and removed what was copied from.
                if let now = try? catalog.backup(identifier), now.generation > record.generation { return .current }
                throw error
            }
        } catch {
            throw EngineError(error, subject: "rewrapping \(identifier)")
        }
    }

    private func isWrapped(_ manifest: Manifest, for recipients: [AgeRecipient]) -> Bool {
        // The first is who sealed it.
        manifest.recipients.first == recipients.first?.string
            && Set(manifest.recipients) == Set(recipients.map(\.string))
    }

    /// The new header, with the nonce. Where another backend has a replica that is rewrapped already, the same one, so that they
    /// stay replicas.
    private func newHeader(
        of record: BackupRecord, _ manifest: Manifest, _ key: OrgKey, _ recipients: [AgeRecipient]
    ) throws -> [UInt8] {
        guard let header = try AgeHeader.parse(record.archiveHeader) else {
            throw EngineError(.catalog, "\(record.identifier): the catalog's header is cut")
        }
        let fileKey = try header.fileKey(identities: key.identities)
        let nonce = record.archiveHeader[header.byteCount...]
        for name in backends.keys.sorted() where name != record.identifier.backend {
            guard let other = try catalog.access(record.identifier.at(name)), other.generation > record.generation,
                let found = try? self.manifest(of: other).manifest, isWrapped(found, for: recipients),
                found.rawSHA256 == manifest.rawSHA256, found.seekTableSHA256 == manifest.seekTableSHA256,
                let otherHeader = try AgeHeader.parse(other.archiveHeader),
                other.archiveHeader[otherHeader.byteCount...].elementsEqual(nonce),
                let otherKey = try? otherHeader.fileKey(identities: key.identities), otherKey.isEqual(to: fileKey)
            else { continue }
            return other.archiveHeader
        }
        return try AgeHeader.make(fileKey: fileKey, recipients: recipients, random: SystemRandomSource()) + nonce
    }
}
