internal import AgeFormat
package import BackupNames
package import CryptoPrimitives
internal import Glibc
internal import SystemIO

/// The folder of key files: `<org>.agekey`, standard age identity files usable with `age -i` as they are, and
/// `<org>.writekey` for orgs that this host may only write for. All are mode 0600, in a folder of mode 0700.
///
/// A file may hold several identities. The first is the current one: new backups are encrypted to it, and it seals their
/// manifests. The others open what was made before.
package struct KeyDirectory: Sendable {
    package let path: String

    static let identityEnding = ".agekey"
    static let writeOnlyEnding = ".writekey"
    private static let sealInfo = Array("holdfast/manifest/v1".utf8)

    package init(path: String) {
        self.path = path
    }

    // MARK: Reading

    /// The key of an org; one that reads is preferred where both kinds are there.
    package func key(for org: ResourceName) throws(KeyError) -> OrgKey {
        if let secret = try read(org, Self.identityEnding) { return try identityKey(org, secret) }
        if let secret = try read(org, Self.writeOnlyEnding) { return try writeOnlyKey(org, secret) }
        throw KeyError(.absent, org.description, "has no key in \(path)")
    }

    /// The orgs that have a key here, by name.
    package func list() throws(KeyError) -> [ResourceName] {
        var orgs: Set<ResourceName> = []
        do throws(Errno) {
            for entry in try Folder.entries(of: path) {
                guard let name = entry.name else { continue }
                for ending in [Self.identityEnding, Self.writeOnlyEnding] where name.hasSuffix(ending) {
                    if let org = try? ResourceName(String(name.dropLast(ending.count))) { orgs.insert(org) }
                }
            }
        } catch {
            if error == .noEntry { return [] }
            throw KeyError(.inaccessible, path, "cannot be read: \(error)", cause: error)
        }
        return orgs.sorted()
    }

    /// The identities of an org, the current one first; on a write-only host the one recipient.
    package func entries(of org: ResourceName) throws(KeyError) -> [KeyEntry] {
        guard let secret = try read(org, Self.identityEnding) else {
            return [KeyEntry(recipient: try key(for: org).recipient, createdAt: nil, isCurrent: true)]
        }
        return try entries(org, secret).enumerated().map { index, entry in
            KeyEntry(recipient: entry.identity.recipient, createdAt: entry.createdAt, isCurrent: index == 0)
        }
    }

    func entries(_ org: ResourceName, _ secret: SecretBytes) throws(KeyError) -> [AgeIdentityFile.Entry] {
        do throws(AgeError) {
            return try secret.withUnsafeBytes { bytes in
                Result { () throws(AgeError) in try AgeIdentityFile.entries(bytes) }
            }.get()
        } catch {
            let path = file(org, Self.identityEnding)
            throw KeyError(.malformed, path, "is no age identity file: \(error)", cause: error)
        }
    }

    func identityKey(_ org: ResourceName, _ secret: SecretBytes) throws(KeyError) -> OrgKey {
        let identities = try entries(org, secret).map(\.identity)
        guard let first = identities.first else { preconditionFailure("internal error: a key file without identities") }
        return OrgKey(
            org: org, identities: identities, recipient: first.recipient, sealKeys: identities.map(Self.sealKey(of:)))
    }

    func writeOnlyKey(_ org: ResourceName, _ secret: SecretBytes) throws(KeyError) -> OrgKey {
        guard let parsed = secret.withUnsafeBytes({ WriteOnlyKeyFile.parse($0) }) else {
            throw KeyError(.malformed, file(org, Self.writeOnlyEnding), "is no write-only key file")
        }
        return OrgKey(org: org, identities: [], recipient: parsed.recipient, sealKeys: parsed.sealKeys)
    }

    /// HKDF-SHA-256 of the identity's 32 secret bytes, info `holdfast/manifest/v1`.
    private static func sealKey(of identity: AgeIdentity) -> SecretBytes {
        HKDFSHA256.deriveKey(from: identity.secretKey, salt: [], info: sealInfo, count: 32)
    }

    /// nil where there is no such file. Refuses one that others may read, or could have put there: new backups would be
    /// encrypted to their key.
    func read(_ org: ResourceName, _ ending: String) throws(KeyError) -> SecretBytes? {
        let path = file(org, ending)
        let secret: SecretBytes
        let facts: FileFacts
        let folder: FileFacts
        do throws(Errno) {
            facts = try FileFacts.of(path)
            folder = try FileFacts.of(self.path)
            secret = try SecretFile.read(path)
        } catch {
            if error == .noEntry { return nil }
            throw KeyError(.inaccessible, path, "cannot be read: \(error)", cause: error)
        }
        guard facts.permissions & 0o077 == 0 else {
            let mode = String(facts.permissions, radix: 8)
            throw KeyError(.insecureMode, path, "may be read or changed by others (mode \(mode)); chmod 600 it")
        }
        guard folder.permissions & 0o022 == 0 else {
            let mode = String(folder.permissions, radix: 8)
            throw KeyError(.insecureMode, self.path, "may be written to by others (mode \(mode)); chmod 700 it")
        }
        return secret
    }

    // MARK: Writing

    /// Makes a new key. Refuses to overwrite one.
    package func create(_ org: ResourceName, createdAt: String) throws(KeyError) -> OrgKey {
        let identity = AgeIdentity.generate()
        try refuseExisting(org)
        try store(AgeIdentityFile.serialize(identity, createdAt: createdAt), org, Self.identityEnding)
        return OrgKey(
            org: org, identities: [identity], recipient: identity.recipient, sealKeys: [Self.sealKey(of: identity)])
    }

    /// Takes in an age identity file or a write-only file, as it is. Refuses anything else, and to overwrite a key.
    package func importKey(_ org: ResourceName, _ bytes: UnsafeRawBufferPointer) throws(KeyError) -> OrgKey {
        let secret = SecretBytes(copying: bytes)
        try refuseExisting(org)
        if let key = try? writeOnlyKey(org, secret) {
            try store(secret, org, Self.writeOnlyEnding)
            return key
        }
        let key = try identityKey(org, secret)
        try store(secret, org, Self.identityEnding)
        return key
    }

    /// The identity file as it lies here.
    package func exportIdentity(_ org: ResourceName) throws(KeyError) -> SecretBytes {
        if let secret = try read(org, Self.identityEnding) { return secret }
        let key = try key(for: org)
        throw KeyError(.writeOnly, key.org.description, "has only a write-only key here")
    }

    /// What a host needs that may back up and not read: the current recipient, and all seal keys.
    package func exportWriteOnly(_ org: ResourceName) throws(KeyError) -> SecretBytes {
        WriteOnlyKeyFile.serialize(try key(for: org))
    }

    private func refuseExisting(_ org: ResourceName) throws(KeyError) {
        for path in [file(org, Self.identityEnding), file(org, Self.writeOnlyEnding)]
        where (try? FileFacts.ofLink(path)) != nil {
            throw KeyError(.exists, org.description, "has a key already: \(path); keys are never overwritten")
        }
    }

    /// O_EXCL, mode 0600, synced with its folder: a key that was reported is there after a crash.
    func store(_ secret: SecretBytes, _ org: ResourceName, _ ending: String) throws(KeyError) {
        let path = file(org, ending)
        do throws(Errno) {
            try makeDirectories(self.path, mode: 0o700)
        } catch {
            throw KeyError(.inaccessible, self.path, "cannot be made: \(error)", cause: error)
        }
        do throws(Errno) {
            let output = try OwnedFile(
                opening: path, for: .write, options: [.create, .exclusive, .noFollow], mode: 0o600)
            do throws(Errno) {
                var failure: Errno?
                secret.withUnsafeBytes { bytes in
                    do throws(Errno) { try output.write(bytes) } catch { failure = error }
                }
                if let failure { throw failure }
                try output.synchronize()
                try syncDirectory(self.path)
            } catch {
                try? FileTree.remove(path)
                throw error
            }
        } catch {
            let code: KeyError.Code = error == .exists ? .exists : .inaccessible
            throw KeyError(code, path, "cannot be written: \(error)", cause: error)
        }
    }

    func file(_ org: ResourceName, _ ending: String) -> String { "\(path)/\(org)\(ending)" }
}
