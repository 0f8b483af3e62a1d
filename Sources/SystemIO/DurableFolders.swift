import Glibc

/// Makes the folder's names durable: what was created, renamed or removed in it before the call.
///
/// File systems that know no fsync of a folder (`EINVAL`) keep names durable by themselves or not at all: that is
/// no error.
package func syncDirectory(_ path: String) throws(Errno) {
    let folder = try OwnedFile(opening: path, for: .read, options: .directory)
    do {
        try folder.synchronize()
    } catch {
        if error != .invalidArgument { throw error }
    }
}

/// Makes the folder and all that are missing above it, and makes each new name durable.
///
/// `mode` is that of every new folder, with the process's umask applied. Folders that exist are left as they are.
package func makeDirectories(_ path: String, mode: UInt32) throws(Errno) {
    let parent = Folder.parentPath(of: path)
    do {
        guard try Folder.make(path, mode: mode) else { return }
    } catch {
        guard error == .noEntry, parent != path else { throw error }
        try makeDirectories(parent, mode: mode)
        try Folder.make(path, mode: mode)
    }
    try syncDirectory(parent)
}
