internal import Glibc
internal import SystemIO

/// Finds out whether QEMU's NBD server, of which it has one, is free.
enum ServerProbe {
    /// Starts it on a socket that nobody knows, and ends it again: there is no other way to ask.
    static func checkIsFree(_ monitor: QMPConnection, _ token: GuestToken) throws {
        func inUse(_ by: String) -> ConversationFailure {
            ConversationFailure(
                description: "the NBD server of its QEMU is in use\(by)",
                hint:
                    "QEMU has one: wait until the other backup or migration is done, or end that server by nbd-server-stop"
            )
        }
        let exports = try monitor.execute("query-block-exports").elements.filter { $0["type"] == "nbd" }
        if let first = exports.first?["id"].string { throw inUse(", by the export \"\(first)\"") }
        let listener = try listener()
        try monitor.execute("getfd", ["fdname": .text(token.name(.server))], with: listener.descriptor)
        do {
            try monitor.execute(
                "nbd-server-start", ["addr": ["type": "fd", "data": ["str": .text(token.name(.server))]]])
        } catch let error as QMPRefusal {
            // The descriptor is still there where it was not used.
            do { try monitor.execute("closefd", ["fdname": .text(token.name(.server))]) } catch is QMPRefusal {}
            throw inUse(": \(error)")
        }
        try monitor.execute("nbd-server-stop")
    }

    /// A socket that listens at an address which the kernel chooses (unix(7), autobind).
    private static func listener() throws(Errno) -> OwnedFile {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let file = OwnedFile(adopting: try Errno.check { socket(AF_UNIX, kind, 0) })
        let descriptor = file.descriptor
        var address = sockaddr(sa_family: sa_family_t(AF_UNIX), sa_data: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        try Errno.check { bind(descriptor, &address, socklen_t(MemoryLayout<sa_family_t>.size)) }
        try Errno.check { listen(descriptor, 1) }
        return file
    }
}
