import Glibc

/// Who has a file open, for people: processes by number and name, loop devices and where they are mounted.
///
/// Only what this process may see: those of other process namespaces are not told, nor who has it open in the kernel alone. Files are
/// compared by device and inode; a file of another name is not touched, so one on a mount that hangs holds nobody up.
package enum FileHolders {
    package static func of(_ file: FileFacts) -> [String] { processes(file) + loopDevices(file) }

    private static func processes(_ file: FileFacts) -> [String] {
        let own = getpid()
        let numbers = names(in: "/proc").compactMap { Int32($0) }.filter { $0 != own }.sorted()
        return numbers.filter { has(process: $0, file) }.map { number in
            let name = text("/proc/\(number)/comm")
            return "process \(number)" + (name.map { " (\($0))" } ?? "")
        }
    }

    private static func has(process: Int32, _ file: FileFacts) -> Bool {
        names(in: "/proc/\(process)/fd").contains { descriptor in
            // "ino:" is told since Linux 5.14 (proc_pid_fdinfo(5)), and costs no question to the file's own file system.
            if let information = text("/proc/\(process)/fdinfo/\(descriptor)"), information.contains("ino:"),
                !information.split(separator: "\n").contains("ino:\t\(file.inode)")
            {
                return false
            }
            guard let facts = try? FileFacts.of("/proc/\(process)/fd/\(descriptor)") else { return false }
            return facts.device == file.device && facts.inode == file.inode
        }
    }

    private static func loopDevices(_ file: FileFacts) -> [String] {
        let mounts = (try? MountEntry.all()) ?? []
        return names(in: "/sys/block").filter { $0.hasPrefix("loop") }.sorted().compactMap { name in
            guard let path = text("/sys/block/\(name)/loop/backing_file"), let facts = try? FileFacts.of(path),
                facts.device == file.device, facts.inode == file.inode
            else { return nil }
            // Its partitions are called loop0p1 and so on.
            let places = mounts.filter { $0.source == "/dev/\(name)" || $0.source.hasPrefix("/dev/\(name)p") }
            let mounted = places.map(\.mountpoint).joined(separator: ", ")
            return "/dev/\(name)" + (mounted.isEmpty ? "" : ", mounted at \(mounted)")
        }
    }

    private static func names(in folder: String) -> [String] {
        ((try? Folder.entries(of: folder)) ?? []).compactMap(\.name)
    }

    private static func text(_ path: String) -> String? {
        guard let bytes = try? readWholeFile(path, maximumByteCount: 64 << 10) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }
}
