import Glibc

/// What a file has beside its bytes.
extension OwnedFile {
    /// FS_NOCOW_FL of linux/fs.h: `chattr +C` of btrfs, which can be set on an empty file only.
    private static let noCopyOnWrite: Int = 0x0080_0000
    /// _IOR('f', 1, long) and _IOW('f', 2, long)
    private static let getFlags: UInt = 0x8008_6601
    private static let setFlags: UInt = 0x4008_6602

    /// Makes an empty file be written in place if `model` is, where the file system knows of such a thing.
    package func takeWriteMode(of model: borrowing OwnedFile) {
        var flags = 0
        guard ioctl(model.descriptor, Self.getFlags, &flags) == 0, flags & Self.noCopyOnWrite != 0 else { return }
        var own = 0
        guard ioctl(descriptor, Self.getFlags, &own) == 0 else { return }
        own |= Self.noCopyOnWrite
        _ = ioctl(descriptor, Self.setFlags, &own)
    }

    /// Gives the file the owner, the group, the permission bits and the extended attributes (ACLs and labels among them) of `model`.
    package func takeAppearance(of model: borrowing OwnedFile) throws(Errno) {
        let (facts, own) = (try model.facts(), try facts())
        if facts.owner != own.owner || facts.group != own.group {
            try setOwner(user: facts.owner, group: facts.group)
        }
        // After the owner, whose change takes bits away.
        try setPermissions(facts.permissions)
        for name in try model.attributeNames() { try setAttribute(name, model.attribute(name)) }
    }

    /// The largest that the kernel lets an attribute, or the list of their names, be (XATTR_SIZE_MAX of linux/limits.h).
    private static let attributeLimit = 64 << 10

    /// The names of the extended attributes, each with the zero byte that ends it. None where the file system has none.
    private func attributeNames() throws(Errno) -> [[CChar]] {
        guard let flistxattr = GNUFunctions.flistxattr else { throw .notImplemented }
        let number = descriptor
        var list = [CChar](repeating: 0, count: Self.attributeLimit)
        do throws(Errno) {
            let limit = list.count
            let count = try Errno.check { flistxattr(number, &list, limit) }
            return list[..<count].split(separator: 0).map { Array($0) + [0] }
        } catch {
            if error == .notSupported { return [] }
            throw error
        }
    }

    private func attribute(_ name: [CChar]) throws(Errno) -> [UInt8] {
        guard let fgetxattr = GNUFunctions.fgetxattr else { throw .notImplemented }
        let number = descriptor
        var value = [UInt8](repeating: 0, count: Self.attributeLimit)
        let limit = value.count
        let count = try Errno.check { fgetxattr(number, name, &value, limit) }
        return Array(value[..<count])
    }

    private func setAttribute(_ name: [CChar], _ value: [UInt8]) throws(Errno) {
        guard let fsetxattr = GNUFunctions.fsetxattr else { throw .notImplemented }
        let number = descriptor
        try Errno.check { fsetxattr(number, name, value, value.count, 0) }
    }
}
