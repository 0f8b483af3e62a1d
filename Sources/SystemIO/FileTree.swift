import Glibc

/// Names in the file system: rename, link, remove.
package enum FileTree {
    /// Renames and replaces what is there, in one step. The corresponding C function is `rename`.
    package static func rename(_ source: String, to target: String) throws(Errno) {
        try Errno.check { Glibc.rename(source, target) }
    }

    /// Renames, but never replaces: `.exists` if `target` is there. One step.
    ///
    /// `.invalidArgument` or `.notImplemented` where the file system has no such rename. The corresponding C function
    /// is `renameat2` with `RENAME_NOREPLACE`.
    package static func renameWithoutReplacing(_ source: String, to target: String) throws(Errno) {
        guard let renameat2 = GNUFunctions.renameat2 else { throw .notImplemented }
        // RENAME_NOREPLACE is 1, linux/fs.h.
        try Errno.check { renameat2(AT_FDCWD, source, AT_FDCWD, target, 1) }
    }

    /// Gives the file a second name; `.exists` if `target` is there. The corresponding C function is `link`.
    package static func link(_ source: String, to target: String) throws(Errno) {
        try Errno.check { Glibc.link(source, target) }
    }

    /// Sets the permission bits of what the path names, without opening it. The corresponding C function is `chmod`.
    package static func setPermissions(_ path: String, _ mode: UInt32) throws(Errno) {
        try Errno.check { chmod(path, mode) }
    }

    /// Removes a name that is not a folder. The corresponding C function is `unlink`.
    package static func remove(_ path: String) throws(Errno) {
        try Errno.check { unlink(path) }
    }
}
