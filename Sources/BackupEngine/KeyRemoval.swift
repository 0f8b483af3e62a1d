package import AgeFormat
package import BackupNames
internal import Catalog
internal import Manifest
internal import OrgKeys

extension Engine {
    /// Removes an identity of an org from its key file, or with nil all keys of the org from this host.
    ///
    /// Refused as `.keyInUse` while the catalog has a backup that opens now and would not afterwards: whose age header no
    /// remaining identity unwraps, or whose manifest no remaining seal key has sealed. That is tried on each of them, by what the
    /// catalog holds, without a request. There is no way to force it. Refused as `.busy` while a backup of the org is under way
    /// that is encrypted to the key.
    package func removeKey(_ org: ResourceName, _ recipient: AgeRecipient?) throws(EngineError) {
        do {
            try keys.remove(org, recipient) { now, remaining in
                if remaining?.recipient != now.recipient, let upload = try runningUpload(of: org) {
                    throw EngineError(.busy, "a backup is under way that is encrypted to this key: \(upload)")
                }
                let orphans = try catalog.allBackups().map(\.identifier).filter { identifier in
                    guard identifier.org == org, let record = try catalog.access(identifier) else { return false }
                    return opens(record, now) && !(remaining.map { opens(record, $0) } ?? false)
                }
                guard let first = orphans.first else { return }
                throw EngineError(
                    .keyInUse,
                    orphans.count == 1
                        ? "no other key here opens the backup \(first)"
                        : "no other key here opens \(orphans.count) backups, \(first) among them",
                    hint: remaining == nil
                        ? "a key can go when no backup needs it any more"
                        : "`holdfast keys rewrap \(org)` encrypts them to the current key")
            }
        } catch {
            throw EngineError(error, subject: "the key of org \"\(org)\"")
        }
    }

    /// Whether a key unwraps the archive's file key, and has sealed the manifest.
    private func opens(_ record: BackupRecord, _ key: OrgKey) -> Bool {
        guard let header = try? AgeHeader.parse(record.archiveHeader),
            (try? header.fileKey(identities: key.identities)) != nil
        else { return false }
        return (try? Manifest(verifying: record.manifestJSON, sealKeys: key.sealKeys)) != nil
    }

    /// The archive of a backup of the org that a living process makes.
    private func runningUpload(of org: ResourceName) throws -> String? {
        try catalog.uploads().first { entry in
            isAlive(entry) && entry.archiveKey.hasPrefix("\(backends[entry.backend]?.prefixString ?? "")\(org)/")
        }?.archiveKey
    }
}
