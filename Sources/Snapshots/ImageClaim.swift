internal import BackupEngine
internal import SystemIO

/// A disk's image that nobody else has open, or can open, until this is over.
///
/// Two claims at once. The kernel's write lease is granted only while nobody has the file open, be it a process of whatever namespace,
/// a mapping, a loop device or the kernel, and makes whoever opens it wait. The lock of the bytes that QEMU locks (RAW_LOCK_PERM_BASE 100 and
/// RAW_LOCK_SHARED_BASE 200 of QEMU's block/file-posix.c, one byte for each permission) keeps QEMU out, also that of another host where
/// the file system carries locks. Where a file system has no leases, processes are looked at one by one, which sees less.
final class ImageClaim {
    private static let lockedBytes: Range<UInt64> = 100..<300

    let path: String
    let file: OwnedFile
    let facts: FileFacts
    /// Without it whoever opens the file is only found when it is looked for.
    private let hasLease: Bool

    /// `.targetInUse` where somebody has the file, with who it is.
    init(_ path: String) throws(EngineError) {
        self.path = path
        do throws(Errno) {
            file = try OwnedFile(opening: path, for: .readWrite, options: [.noFollow, .nonBlocking])
            facts = try file.facts()
        } catch {
            throw EngineError(.target, "the image \"\(path)\" cannot be opened: \(error)", cause: error)
        }
        guard facts.kind == .regular else { throw EngineError(.target, "\"\(path)\" is no regular file") }
        hasLease = try Self.claim(file, path, facts)
    }

    /// Returns whether there is a lease.
    private static func claim(
        _ file: borrowing OwnedFile, _ path: String, _ facts: FileFacts
    ) throws(EngineError) -> Bool {
        do {
            guard try file.tryLock(lockedBytes) else { throw inUse(path, facts) }
            guard try file.tryLease() else { throw inUse(path, facts) }
            return true
        } catch let error as EngineError {
            throw error
        } catch let error as Errno where [.invalidArgument, .notSupported, .notImplemented].contains(error) {
            // Nobody can be kept from opening it here, only be seen.
            guard FileHolders.of(facts).isEmpty else { throw inUse(path, facts) }
            return false
        } catch {
            throw EngineError(.target, "the image \"\(path)\" cannot be locked: \(error)", cause: error)
        }
    }

    private static func inUse(_ path: String, _ facts: FileFacts) -> EngineError {
        let holders = FileHolders.of(facts)
        let who = holders.isEmpty ? "by somebody who cannot be seen from here" : "by " + holders.joined(separator: ", ")
        return EngineError(
            .targetInUse, "the image \"\(path)\" is open, \(who)",
            hint: "stop the guest first, or make a new disk: holdfast snapshot clone")
    }

    /// Throws as soon as somebody has opened the file, or waits to.
    func demandUndisturbed() throws(EngineError) {
        guard hasLease, !file.holdsLease else { return }
        throw EngineError(
            .targetInUse, "somebody opened the image \"\(path)\" meanwhile; it stays as it was",
            hint: "stop the guest first, or make a new disk: holdfast snapshot clone")
    }

    /// The same before and after the one step that counts, also where there are no leases, and that the name still is this file's.
    func demandAlone(at path: String) throws(EngineError) {
        try demandUndisturbed()
        if !hasLease, !FileHolders.of(facts).isEmpty { throw Self.inUse(path, facts) }
        let now = try? FileFacts.ofLink(path)
        guard now?.device == facts.device, now?.inode == facts.inode else {
            throw EngineError(.targetInUse, "somebody put another file in the place of the image \"\(self.path)\"")
        }
    }
}
