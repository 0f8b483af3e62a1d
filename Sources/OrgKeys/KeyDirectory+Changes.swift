package import AgeFormat
package import BackupNames
internal import CryptoPrimitives
internal import SystemIO

/// Changing a key that is there: rotation, more identities, fewer.
///
/// Each change writes the whole new file beside the old one, syncs it, and renames it: a reader, also after a power cut, sees
/// the old file or the new. Changes of one folder wait for each other, so none is lost. Owner and group stay.
extension KeyDirectory {
    /// Makes a new identity and puts it first: from now on it is the current one. The others stay.
    package func rotate(_ org: ResourceName, createdAt: String) throws(KeyError) -> OrgKey {
        try withLock { () throws(KeyError) in
            let old = try identityFile(org)
            // What is malformed is not made worse.
            _ = try entries(org, old)
            let new = AgeIdentityFile.serialize(.generate(), createdAt: createdAt)
            return try replaceIdentities(org, Self.joined([new, old]))
        }
    }

    /// Takes further identities into a key that is there, behind those it has; those it has are left. A write-only key gets the
    /// recipient and the seal keys of the new file, before those it had.
    ///
    /// Where the org has a write-only key only, a file of identities is stored beside it, and used from then on.
    package func addKey(_ org: ResourceName, _ bytes: UnsafeRawBufferPointer) throws(KeyError) -> OrgKey {
        let secret = SecretBytes(copying: bytes)
        let incoming = try parse(org, secret)
        do throws(Errno) {
            try makeDirectories(path, mode: 0o700)
        } catch {
            throw KeyError(.inaccessible, path, "cannot be made: \(error)", cause: error)
        }
        return try withLock { () throws(KeyError) in
            if let old = try read(org, Self.identityEnding) {
                guard incoming.canRead else {
                    throw KeyError(
                        .exists, org.description, "has a key that reads; a write-only key adds nothing to it")
                }
                let known = Set(try entries(org, old).map(\.identity.recipient))
                let new = try entries(org, secret).filter { !known.contains($0.identity.recipient) }
                guard !new.isEmpty else { return try identityKey(org, old) }
                let texts = new.map { AgeIdentityFile.serialize($0.identity, createdAt: $0.createdAt) }
                return try replaceIdentities(org, Self.joined([old] + texts))
            }
            if incoming.canRead {
                try store(secret, org, Self.identityEnding)
                return incoming
            }
            guard try read(org, Self.writeOnlyEnding) != nil else {
                try store(secret, org, Self.writeOnlyEnding)
                return incoming
            }
            let old = try key(for: org)
            let older = old.sealKeys.filter { key in !incoming.sealKeys.contains { $0.isEqual(to: key) } }
            let merged = OrgKey(
                org: org, identities: [], recipient: incoming.recipient, sealKeys: incoming.sealKeys + older)
            try replace(WriteOnlyKeyFile.serialize(merged), org, Self.writeOnlyEnding)
            return merged
        }
    }

    /// Removes the identity of a recipient, or with nil every key of the org; `isAllowed` is asked first, under the lock, with
    /// the identities that would stay (empty for none), and throws where they are not enough.
    package func remove(
        _ org: ResourceName, _ recipient: AgeRecipient?,
        isAllowed: (_ now: OrgKey, _ remaining: OrgKey?) throws -> Void
    ) throws {
        try withUntypedLock {
            let now = try key(for: org)
            guard let recipient else {
                try isAllowed(now, nil)
                for ending in [Self.identityEnding, Self.writeOnlyEnding] { try removeFile(org, ending) }
                return
            }
            let old = try identityFile(org)
            guard try entries(org, old).contains(where: { $0.identity.recipient == recipient }) else {
                throw KeyError(.noSuchIdentity, org.description, "has no identity of \(recipient) in \(path)")
            }
            let rest = try old.withUnsafeBytes { try AgeIdentityFile.removing(recipient, from: $0) }
            guard rest.count > 0 else {
                try isAllowed(now, nil)
                return try removeFile(org, Self.identityEnding)
            }
            try isAllowed(now, identityKey(org, rest))
            _ = try replaceIdentities(org, rest)
        }
    }

    // MARK: Files

    /// What a file that somebody gave holds: write-only or identities.
    private func parse(_ org: ResourceName, _ secret: SecretBytes) throws(KeyError) -> OrgKey {
        if let key = try? writeOnlyKey(org, secret) { return key }
        return try identityKey(org, secret)
    }

    private func identityFile(_ org: ResourceName) throws(KeyError) -> SecretBytes {
        if let secret = try read(org, Self.identityEnding) { return secret }
        let key = try key(for: org)
        throw KeyError(
            .writeOnly, key.org.description,
            "has only a write-only key here; its identities are changed where they are, and exported anew from there")
    }

    private func replaceIdentities(_ org: ResourceName, _ secret: SecretBytes) throws(KeyError) -> OrgKey {
        let key = try identityKey(org, secret)
        try replace(secret, org, Self.identityEnding)
        return key
    }

    private func replace(_ secret: SecretBytes, _ org: ResourceName, _ ending: String) throws(KeyError) {
        let path = file(org, ending)
        do throws(Errno) {
            // Larger ones are not read again.
            guard secret.count <= SecretFile.maximumByteCount else { throw .fileTooLarge }
            try removeInterrupted(org, ending)
            let facts = try FileFacts.ofLink(path)
            // A link would be replaced, and what it leads to would stay as it was.
            guard facts.kind == .regular else { throw .tooManySymbolicLinks }
            var failure: Errno?
            secret.withUnsafeBytes { bytes in
                do throws(Errno) {
                    try atomicReplace(path, bytes, mode: 0o600, owner: (facts.owner, facts.group))
                } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
        } catch {
            throw KeyError(.inaccessible, path, "cannot be written: \(error)", cause: error)
        }
    }

    /// What a change that was cut off has left of its new file holds secrets, and is nobody's: all changes have the lock.
    private func removeInterrupted(_ org: ResourceName, _ ending: String) throws(Errno) {
        for entry in try Folder.entries(of: path) {
            guard let name = entry.name, name.hasPrefix(".\(org)\(ending)."), name.hasSuffix(".tmp") else { continue }
            try FileTree.remove("\(path)/\(name)")
        }
    }

    private func removeFile(_ org: ResourceName, _ ending: String) throws(KeyError) {
        let path = file(org, ending)
        do throws(Errno) {
            try FileTree.remove(path)
            try syncDirectory(self.path)
        } catch {
            if error == .noEntry { return }
            throw KeyError(.inaccessible, path, "cannot be removed: \(error)", cause: error)
        }
    }

    /// One text behind the other, each on lines of its own.
    private static func joined(_ texts: [SecretBytes]) -> SecretBytes {
        let needsLineFeed = texts.map { text in text.withUnsafeBytes { ($0.last ?? 10) != UInt8(ascii: "\n") } }
        let count = zip(texts, needsLineFeed).reduce(0) { $0 + $1.0.count + ($1.1 ? 1 : 0) }
        return SecretBytes(count: count) { output in
            var offset = 0
            for (text, needsLineFeed) in zip(texts, needsLineFeed) {
                text.withUnsafeBytes {
                    UnsafeMutableRawBufferPointer(rebasing: output[offset..<offset + $0.count]).copyMemory(from: $0)
                }
                offset += text.count
                if needsLineFeed {
                    output[offset] = UInt8(ascii: "\n")
                    offset += 1
                }
            }
        }
    }

    // MARK: One change at a time

    /// The advisory lock of the folder: of this process's threads and of others.
    private func withLock<Result>(_ body: () throws(KeyError) -> Result) throws(KeyError) -> Result {
        let folder = try lockedFolder()
        return try withExtendedLifetime(folder) { () throws(KeyError) in try body() }
    }

    private func withUntypedLock<Result>(_ body: () throws -> Result) throws -> Result {
        try withExtendedLifetime(lockedFolder()) { try body() }
    }

    private func lockedFolder() throws(KeyError) -> FolderLock {
        do throws(Errno) {
            return try FolderLock(path)
        } catch {
            throw KeyError(
                error == .noEntry ? .absent : .inaccessible, path, "cannot be locked: \(error)", cause: error)
        }
    }
}

/// Held as long as it lives.
private final class FolderLock {
    private let folder: OwnedFile

    init(_ path: String) throws(Errno) {
        folder = try OwnedFile(opening: path, for: .read, options: .directory)
        try folder.lock()
    }
}
