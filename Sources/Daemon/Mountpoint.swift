internal import Glibc

/// Why a folder cannot be mounted on. Each reason is told apart by its code.
package struct MountpointError: Error, CustomStringConvertible {
    package enum Code: String, Sendable { case missing, notADirectory, alreadyMounted, notEmpty, unreadable }

    package let code: Code
    package let detail: String
    package var description: String { detail }
}

/// The folder a mount is put over.
package enum Mountpoint {
    /// Checks that the folder is there, empty, and no mount point already. Returns its absolute path.
    package static func check(_ path: String) throws(MountpointError) -> String {
        var status = stat()
        guard stat(path, &status) == 0 else {
            let number = errno
            // A mount whose daemon died answers ENOTCONN: it is still a mount.
            if number == ENOTCONN {
                throw MountpointError(
                    code: .alreadyMounted,
                    detail: "\"\(path)\" holds the mount of a daemon that is gone; `umount -l` it first")
            }
            let code: MountpointError.Code = number == ENOENT ? .missing : .unreadable
            throw MountpointError(code: code, detail: "mountpoint \"\(path)\": \(String(cString: strerror(number)))")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw MountpointError(code: .notADirectory, detail: "mountpoint \"\(path)\" is not a folder")
        }
        guard let resolved = realpath(path, nil) else {
            throw MountpointError(
                code: .unreadable, detail: "mountpoint \"\(path)\": \(String(cString: strerror(errno)))")
        }
        defer { free(resolved) }
        let absolute = String(cString: resolved)
        var parent = stat()
        if stat(absolute + "/..", &parent) == 0, parent.st_dev != status.st_dev || parent.st_ino == status.st_ino {
            throw MountpointError(code: .alreadyMounted, detail: "\"\(absolute)\" is already a mount point")
        }
        guard let folder = opendir(absolute) else {
            throw MountpointError(
                code: .unreadable, detail: "mountpoint \"\(path)\": \(String(cString: strerror(errno)))")
        }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." {
                throw MountpointError(code: .notEmpty, detail: "mountpoint \"\(absolute)\" is not empty")
            }
        }
        return absolute
    }
}
