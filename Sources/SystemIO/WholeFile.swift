import Glibc

/// Writes a whole file in place of what is there: a reader, also after a power cut, sees the old content or the
/// new, never a part.
///
/// The bytes go to a temporary name in the same folder (`.<name>.<random>.tmp`), which is made durable, renamed and
/// its folder made durable. `mode` is exact, without the umask. With `owner` the new file gets that owner and group; only root
/// may give one that is not its own. After an error the temporary name is removed.
package func atomicReplace(
    _ path: String, _ bytes: UnsafeRawBufferPointer, mode: UInt32, owner: (user: UInt32, group: UInt32)? = nil
) throws(Errno) {
    let folder = Folder.parentPath(of: path)
    let name = String(path.reversed().drop { $0 == "/" }.prefix { $0 != "/" }.reversed())
    guard !name.isEmpty else { throw .invalidArgument }
    let suffix = String(UInt64.random(in: .min ... .max), radix: 16)
    let temporary = folder + "/." + name + "." + suffix + ".tmp"
    let file = try OwnedFile(
        opening: temporary, for: .write, options: [.create, .exclusive, .noFollow], mode: mode)
    do {
        if let owner {
            let facts = try file.facts()
            if facts.owner != owner.user || facts.group != owner.group {
                try file.setOwner(user: owner.user, group: owner.group)
            }
        }
        try file.setPermissions(mode)
        try file.write(bytes, at: 0)
        try file.synchronize()
        try file.close()
        try FileTree.rename(temporary, to: path)
    } catch {
        _ = unlink(temporary)
        throw error
    }
    try syncDirectory(folder)
}

/// All bytes of a file, which may be a pipe or one of /proc.
///
/// `.fileTooLarge` if there are more than `maximumByteCount`; no more than that is ever held.
package func readWholeFile(_ path: String, maximumByteCount: Int) throws(Errno) -> [UInt8] {
    let file = try OwnedFile(opening: path, for: .read)
    let facts = try file.facts()
    if facts.kind == .directory { throw .isDirectory }
    if facts.kind == .regular, facts.byteCount > UInt64(maximumByteCount) { throw .fileTooLarge }
    var bytes: [UInt8] = []
    // One byte more than the file says it has, so that the usual read finds the end at once.
    var step = Int(min(facts.byteCount, UInt64(maximumByteCount))) + 1
    while true {
        let start = bytes.count
        step = min(max(step, 4096), maximumByteCount - start + 1)
        bytes.append(contentsOf: repeatElement(0, count: step))
        var failure: Errno?
        let count = bytes.withUnsafeMutableBytes { buffer in
            do throws(Errno) {
                return try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[start...]))
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        bytes.removeLast(step - count)
        if bytes.count > maximumByteCount { throw .fileTooLarge }
        if count < step { return bytes }
        step = 1 << 16
    }
}
