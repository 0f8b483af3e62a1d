import Glibc

extension OwnedFile {
    /// Opens a new, empty file in `folder` that has no name: it is gone with its last descriptor, after a crash and a power cut too.
    ///
    /// Where the file system knows no such files it gets a name for as long as it is empty. The corresponding flag of open(2) is
    /// `O_TMPFILE`.
    package static func unnamed(in folder: String) throws(Errno) -> OwnedFile {
        do throws(Errno) {
            return try OwnedFile(opening: folder, for: .readWrite, options: [.directory, .unnamed])
        } catch {
            // EISDIR: a kernel or file system that does not know the flag (open(2)).
            guard error == .notSupported || error == .isDirectory || error == .invalidArgument else { throw error }
        }
        let path = folder + "/.holdfast-scratch." + String(UInt64.random(in: .min ... .max), radix: 16)
        let file = try OwnedFile(opening: path, for: .readWrite, options: [.create, .exclusive, .noFollow])
        try FileTree.remove(path)
        return file
    }

    /// Makes a new, empty file in memory, which may be swapped as any memory; gone with its last descriptor. `name` only shows in
    /// /proc/PID/fd. The corresponding C function is `memfd_create`.
    package static func inMemory(named name: String) throws(Errno) -> OwnedFile {
        guard let create = GNUFunctions.memfdCreate else { throw .notImplemented }
        // MFD_CLOEXEC (linux/memfd.h).
        return OwnedFile(adopting: try Errno.check { create(name, 1) })
    }
}
