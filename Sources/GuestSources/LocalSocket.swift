internal import Glibc
internal import SystemIO

/// What kept a conversation with QEMU or a guest agent from going on.
struct ConversationFailure: Error, CustomStringConvertible {
    let description: String
    var hint: String?
    /// Nobody is at the other end: the guest has ended.
    var isGone = false
    /// The other end has closed the connection: it may be about to be gone.
    var hasEnded = false
}

/// A connection to a socket of this machine, over which lines go. One thread at a time.
final class LocalSocket {
    /// More than QEMU ever says at once: its answers are a few KiB.
    private static let lineLimit = 16 << 20

    private let file: OwnedFile
    private var held: [UInt8] = []

    var descriptor: Int32 { file.descriptor }

    /// Connects; waits no longer than `patience` where the listener's queue is full.
    init(_ path: String, patience: Duration) throws(ConversationFailure) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw ConversationFailure(description: "\"\(path)\" is too long for the name of a socket")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let socket: Int32
        do throws(Errno) {
            socket = try Errno.check { Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0) }
        } catch {
            throw ConversationFailure(description: "no socket: \(error)")
        }
        file = OwnedFile(adopting: socket)
        let (seconds, attoseconds) = patience.components
        var limit = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0 else {
            let error = Errno.current
            switch error {
            case .noEntry:
                throw ConversationFailure(
                    description: "there is no socket \"\(path)\"", hint: Self.startHint, isGone: true)
            case Errno(ECONNREFUSED):
                throw ConversationFailure(
                    description: "nobody listens at \"\(path)\"", hint: Self.startHint, isGone: true)
            case .wouldBlock: throw ConversationFailure(description: "\"\(path)\" takes no connection for \(patience)")
            default: throw ConversationFailure(description: "\"\(path)\" cannot be connected to: \(error)")
            }
        }
    }

    private static let startHint = "does the guest run, and was it started with this socket?"

    /// Sends bytes, with a descriptor beside the first (unix(7), SCM_RIGHTS).
    func send(_ bytes: [UInt8], with descriptor: Int32? = nil) throws(ConversationFailure) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { part in
                var piece = iovec(iov_base: UnsafeMutableRawPointer(mutating: part.baseAddress), iov_len: part.count)
                return withUnsafeMutablePointer(to: &piece) { piece in
                    var message = msghdr()
                    message.msg_iov = piece
                    message.msg_iovlen = 1
                    guard let descriptor, sent == 0 else {
                        return sendmsg(file.descriptor, &message, Int32(MSG_NOSIGNAL))
                    }
                    // A cmsghdr (length, level, type), and the descriptor behind it, padded to eight bytes: cmsg(3).
                    let control = UnsafeMutableRawBufferPointer.allocate(byteCount: 24, alignment: 8)
                    defer { control.deallocate() }
                    control.initializeMemory(as: UInt8.self, repeating: 0)
                    control.storeBytes(of: 20, toByteOffset: 0, as: Int.self)
                    control.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: Int32.self)
                    control.storeBytes(of: Int32(SCM_RIGHTS), toByteOffset: 12, as: Int32.self)
                    control.storeBytes(of: descriptor, toByteOffset: 16, as: Int32.self)
                    message.msg_control = control.baseAddress
                    message.msg_controllen = control.count
                    return sendmsg(file.descriptor, &message, Int32(MSG_NOSIGNAL))
                }
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw ConversationFailure(description: "it takes nothing any more: \(Errno.current)", hasEnded: true)
            }
            sent += count
        }
    }

    /// The next line without its end; waits until nothing came for `patience`, and never beyond `deadline`.
    func line(patience: Duration, deadline: ContinuousClock.Instant? = nil) throws(ConversationFailure) -> [UInt8] {
        while true {
            if let line = heldLine() { return line }
            guard held.count < Self.lineLimit else {
                throw ConversationFailure(description: "it sends lines without end")
            }
            var wait = patience
            if let deadline { wait = min(wait, deadline - .now) }
            guard try receive(within: wait) else {
                throw ConversationFailure(description: "it did not answer for \(patience)")
            }
        }
    }

    /// Throws away what has come and nobody waits for.
    func drain() throws(ConversationFailure) {
        while try receive(within: .zero) {}
        while heldLine() != nil {}
    }

    private func heldLine() -> [UInt8]? {
        guard let end = held.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        defer { held.removeSubrange(...end) }
        return Array(held[..<end])
    }

    /// Whether something came.
    private func receive(within time: Duration) throws(ConversationFailure) -> Bool {
        var waiting = pollfd(fd: file.descriptor, events: Int16(POLLIN), revents: 0)
        let deadline = ContinuousClock.now + time
        while true {
            let left = max(0, (deadline - .now) / .milliseconds(1))
            let ready = poll(&waiting, 1, Int32(min(left.rounded(.up), 600_000)))
            if ready == 0 { return false }
            if ready > 0 { break }
            guard errno == EINTR else { throw ConversationFailure(description: "poll: \(Errno.current)") }
        }
        var part = [UInt8](repeating: 0, count: 16 << 10)
        let count = read(file.descriptor, &part, part.count)
        guard count > 0 else {
            throw ConversationFailure(
                description: count == 0 ? "it ended the connection" : "it cannot be heard: \(Errno.current)",
                hasEnded: true)
        }
        held += part[..<count]
        return true
    }
}
