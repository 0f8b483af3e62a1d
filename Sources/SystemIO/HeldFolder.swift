import Glibc

/// A folder that is held open, and was reached without following a symbolic link below its root.
///
/// Names in it stay in it: what somebody puts in the place of a folder above meanwhile does not lead elsewhere. The paths that it
/// gives go through `/proc/self/fd`; with the value's last use, which may be the call that gives one, they end.
package struct HeldFolder: ~Copyable, Sendable {
    /// Only a place in the tree, for which reading is not needed. The constant stands behind _GNU_SOURCE (asm-generic/fcntl.h).
    private static let pathOnly: Int32 = 0o10000000

    private let file: OwnedFile

    /// Opens the folder `names` below `root`, one after the other. The root itself may be reached through links.
    ///
    /// `.notDirectory` where one of the names is a link or no folder.
    package init(_ names: some Collection<String>, beneath root: String) throws(Errno) {
        var held = OwnedFile(adopting: try Errno.check { open(root, Self.pathOnly | O_DIRECTORY | O_CLOEXEC) })
        for name in names { held = try Self.enter(name, in: held) }
        file = held
    }

    private static func enter(_ name: String, in folder: borrowing OwnedFile) throws(Errno) -> OwnedFile {
        precondition(!name.utf8.contains(0x2f) && name != "..", "internal error: more than the name of a folder")
        let descriptor = folder.descriptor
        let flags = pathOnly | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        return OwnedFile(adopting: try Errno.check { openat(descriptor, name, flags) })
    }

    /// Gives the folder's own path to `body`, within which it is valid.
    package func here<Result: ~Copyable>(_ body: (String) throws(Errno) -> Result) throws(Errno) -> Result {
        try body("/proc/self/fd/\(file.descriptor)")
    }

    /// Gives the path of a name in the folder, which may be a link, to `body`, within which it is valid.
    package func at<Result: ~Copyable>(
        _ name: String, _ body: (String) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try body("/proc/self/fd/\(file.descriptor)/\(name)")
    }
}
