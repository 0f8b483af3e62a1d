import Foundation
import Glibc
import Synchronization
import Testing
import Workers

/// A TCP server on loopback that says byte for byte what a test wants: for answers that no real server gives.
/// Each connection is served by a thread of its own, until the handler returns false or the other side closes.
final class ScriptedServer: Sendable {
    /// A connection on which one request has been read.
    struct Peer: Sendable {
        let descriptor: Int32
        let head: String
        let body: [UInt8]

        func send(_ text: String) { send(Array(text.utf8)) }

        func send(_ bytes: [UInt8]) {
            var sent = 0
            while sent < bytes.count {
                let count = bytes[sent...].withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return }
                sent += count
            }
        }

        /// The next close of this connection sends a reset instead of an end.
        func resetsOnClose() {
            var option = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        }
    }

    let port: UInt16
    var url: String { "http://127.0.0.1:\(port)" }
    private let listener: Int32
    private let connections = Mutex<(open: [Int32], total: Int)>((open: [], total: 0))

    /// How many connections were made so far.
    var connectionCount: Int { connections.withLock { $0.total } }

    /// `handler` answers one request; true keeps the connection for the next.
    init(_ handler: @escaping @Sendable (Peer) -> Bool) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, size) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, address, &size) == 0
            }
        }
        try #require(bound)
        port = UInt16(bigEndian: address.sin_port)
        self.listener = listener
        NativeThread(name: "server") { [self] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { return }
                connections.withLock { connections in
                    connections.open.append(descriptor)
                    connections.total += 1
                }
                NativeThread(name: "peer") { [self] in
                    while let peer = Self.receive(descriptor), handler(peer) {}
                    connections.withLock { connections in
                        connections.open.removeAll { $0 == descriptor }
                        close(descriptor)
                    }
                }.detach()
            }
        }.detach()
    }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        connections.withLock { connections in
            for descriptor in connections.open { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    private static func receive(_ descriptor: Int32) -> Peer? {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            if let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) {
                let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self)
                let line = head.lowercased().components(separatedBy: "\r\n").first { $0.hasPrefix("content-length:") }
                let length = line.flatMap { Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) } ?? 0
                if bytes.count - end.upperBound >= length {
                    return Peer(descriptor: descriptor, head: head, body: Array(bytes[end.upperBound...]))
                }
            }
            let count = recv(descriptor, &part, part.count, 0)
            guard count > 0 else { return nil }
            bytes += part[..<count]
        }
    }
}
