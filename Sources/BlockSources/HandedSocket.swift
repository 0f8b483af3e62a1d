internal import BackupEngine
internal import Glibc
package import SystemIO

/// A socket that a server can listen at and clients that are connected to it already. Its name is gone before anybody else could
/// have seen it, so nothing of it outlives the two processes, and nobody else can connect.
package struct HandedSocket: ~Copyable {
    private static let prefix = "holdfast-nbd-"

    package let listener: Int32
    package let clients: [Int32]

    /// Makes them in a private folder under $TMPDIR or /tmp, which is removed again here.
    package init(clientCount: Int = 1) throws(Errno) {
        // A long $TMPDIR leaves no room in an address of 108 bytes (unix(7)).
        let named = getenv("TMPDIR").map { String(cString: $0) } ?? ""
        let root = named.hasPrefix("/") && named.utf8.count < 50 ? named : "/tmp"
        Self.cleanUp(root)
        let identity = ProcessIdentity.current
        let template = "\(root)/\(Self.prefix)\(identity.process)-\(identity.startTicks)-XXXXXX"
        var bytes = Array(template.utf8CString)
        guard mkdtemp(&bytes) != nil else { throw .current }
        let folder = String(decoding: bytes.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let path = folder + "/socket"
        defer {
            unlink(path)
            rmdir(folder)
        }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let listener = try Errno.check { socket(AF_UNIX, kind, 0) }
        var clients: [Int32] = []
        do throws(Errno) {
            try Self.with(&address) { bind(listener, $0, $1) }
            _ = try Errno.check { listen(listener, Int32(clientCount)) }
            for _ in 0..<clientCount {
                let client = try Errno.check { socket(AF_UNIX, kind, 0) }
                clients.append(client)
                try Self.with(&address) { connect(client, $0, $1) }
            }
            self.listener = listener
            self.clients = clients
        } catch {
            for descriptor in [listener] + clients { close(descriptor) }
            throw error
        }
    }

    private static func with(
        _ address: inout sockaddr_un, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(Errno) {
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                call($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else { throw .current }
    }

    /// What a process left that was killed between two of the calls above.
    private static func cleanUp(_ root: String) {
        guard let entries = try? Folder.entries(of: root) else { return }
        for entry in entries where entry.kind == .directory {
            guard let name = entry.name, name.hasPrefix(prefix) else { continue }
            let numbers = name.dropFirst(prefix.count).split(separator: "-")
            guard numbers.count == 3, let process = Int32(numbers[0]), let ticks = UInt64(numbers[1]) else { continue }
            let owner = ProcessIdentity(
                process: process, startTicks: ticks, bootIdentifier: ProcessIdentity.current.bootIdentifier)
            guard !owner.isAlive else { continue }
            unlink("\(root)/\(name)/socket")
            rmdir("\(root)/\(name)")
        }
    }
}
