/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
package struct MountEntry: Hashable, Sendable {
    package let mountpoint: String
    package let fileSystem: String
    package let source: String

    package init?(parsing line: Substring) {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 2, dash >= 6 else { return nil }
        mountpoint = Self.unescaped(fields[4])
        fileSystem = String(fields[dash + 1])
        source = Self.unescaped(fields[dash + 2])
    }

    /// The mount that a file is on: the last of those with the longest mountpoint above it.
    package static func holding(_ path: String, _ mountinfo: String) -> MountEntry? {
        mountinfo.split(separator: "\n").compactMap { MountEntry(parsing: $0) }.filter { entry in
            entry.mountpoint == "/" || path == entry.mountpoint || path.hasPrefix(entry.mountpoint + "/")
        }.reduce(nil) { best, entry in
            best.map { entry.mountpoint.utf8.count >= $0.mountpoint.utf8.count } ?? true ? entry : best
        }
    }

    /// The same of this process now; nil where that cannot be told.
    package static func holding(_ path: String) -> MountEntry? {
        guard let bytes = try? readWholeFile("/proc/self/mountinfo", maximumByteCount: 16 << 20) else { return nil }
        return holding(path, String(decoding: bytes, as: UTF8.self))
    }

    /// All of this process, in the order of mounting.
    package static func all() throws(Errno) -> [MountEntry] {
        let bytes = try readWholeFile("/proc/self/mountinfo", maximumByteCount: 16 << 20)
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { MountEntry(parsing: $0) }
    }

    /// Spaces and their like are written as `\040`.
    private static func unescaped(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
                bytes.append(digits.reduce(0) { $0 &* 8 &+ ($1 - 0x30) })
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
