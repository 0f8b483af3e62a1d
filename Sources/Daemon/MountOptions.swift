package import FuseBridge
internal import Glibc

/// A mount option that holdfast does not know, or a value that does not fit.
package struct MountOptionError: Error, CustomStringConvertible {
    package let detail: String
    package var description: String { detail }
}

/// The `-o` options: some are ours, some libfuse's or the kernel's, some are for mount(8) alone.
package struct MountOptions: Sendable, Hashable {
    package var appearance: MountAppearance
    /// What goes to libfuse.
    package var kernelOptions: [String] = []
    /// Where to write down what is read.
    package var tracePath: String?

    package static var standard: MountOptions {
        MountOptions(appearance: MountAppearance(userID: getuid(), groupID: getgid(), umask: 0))
    }

    /// Options of fstab that say when to mount, not how; mount(8) passes some of them on.
    private static let ignored: Set<String> = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "rw",
    ]

    /// Options passed on as they are.
    private static let passed: Set<String> = [
        "ro", "allow_other", "allow_root", "auto_unmount", "nodev", "dev", "nosuid", "suid", "noexec", "exec",
        "noatime",
        "atime", "nodiratime", "sync", "async", "dirsync",
    ]

    /// Parses the values of all `-o` arguments.
    package init(parsing lists: [String]) throws(MountOptionError) {
        self = .standard
        for option in lists.flatMap({ $0.split(separator: ",").map(String.init) }) {
            let parts = option.split(separator: "=", maxSplits: 1).map(String.init)
            let name = parts.first ?? ""
            switch name {
            case _ where Self.ignored.contains(option) || name.hasPrefix("x-"): continue
            case _ where Self.passed.contains(option): kernelOptions.append(option)
            case "uid": appearance.userID = try Self.number(parts, radix: 10)
            case "gid": appearance.groupID = try Self.number(parts, radix: 10)
            case "umask": appearance.umask = try Self.number(parts, radix: 8)
            case "record":
                guard parts.count == 2, !parts[1].isEmpty else {
                    throw MountOptionError(detail: "mount option \"record\" wants a file: record=FILE")
                }
                tracePath = parts[1]
            case "fsname", "context", "fscontext", "defcontext", "rootcontext": kernelOptions.append(option)
            default: throw MountOptionError(detail: "unknown mount option \"\(option)\"")
            }
        }
    }

    private init(appearance: MountAppearance) { self.appearance = appearance }

    private static func number(_ parts: [String], radix: Int) throws(MountOptionError) -> UInt32 {
        guard parts.count == 2, let number = UInt32(parts[1], radix: radix) else {
            throw MountOptionError(detail: "mount option \"\(parts.joined(separator: "="))\" wants a number")
        }
        return number
    }
}
