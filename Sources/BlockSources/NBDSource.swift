package import BackupEngine
internal import Glibc

/// The export of a server of network block devices, read once from front to back.
///
/// Nothing but reads and questions about extents is ever sent. What the server says is zero is not read, but for the last sector
/// (`NBDStream`). A server that sends nothing for `patience` is given up. One thread at a time.
package final class NBDSource: ImageSource {
    package static let defaultPatience = Duration.seconds(30)
    /// The schemes that are taken, as the specification of NBD URIs has them.
    package static let schemes = ["nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock"]

    /// Bytes asked for at once, and connections where the server says that several see the same: found by
    /// contrib/bench/sources.
    static let usualRequestByteCount = 256 << 10
    static let usualConnectionCount = 1

    package let name: String
    private let imageByteCount: UInt64
    package let consistency: String
    package let consistentAt: Int64?
    private let patience: Duration
    private let connections: [NBDConnection]
    /// How many of them, from the first, are read from, and which are asked what is zero.
    private let readerCount: Int
    private let tellers: [Int]
    private let requestByteCount: Int
    /// A pass that failed has left answers on the way.
    private var isSpent = false

    package var byteCount: UInt64? { imageByteCount }

    /// Connects to a server. `consistency` and `consistentAt` are the facts of the point that is exported; `patience` is how long the
    /// server may be silent, now and later.
    package static func open(
        uri: String, consistency: String = "none", consistentAt: Int64? = nil,
        patience: Duration = defaultPatience
    ) throws(EngineError) -> NBDSource {
        try open(
            uri: uri, consistency: consistency, consistentAt: consistentAt, patience: patience,
            connectionCount: usualConnectionCount, requestByteCount: usualRequestByteCount)
    }

    static func open(
        uri: String, consistency: String, consistentAt: Int64?, patience: Duration, connectionCount: Int,
        requestByteCount: Int
    ) throws(EngineError) -> NBDSource {
        guard isURI(uri) else {
            throw EngineError(
                .invalidName, "\"\(uri)\" is not the URI of a network block device",
                hint: "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")
        }
        do throws(NBDFailure) {
            let first = try NBDConnection(.uri(uri), patience: patience)
            var connections = [first]
            while connections.count < connectionCount, first.canMultiConnect {
                connections.append(try NBDConnection(.uri(uri), patience: patience))
            }
            return try NBDSource(
                connections, name: uri, consistency: consistency, consistentAt: consistentAt, patience: patience,
                requestByteCount: requestByteCount)
        } catch {
            throw EngineError(.source, "\"\(uri)\" cannot be read: \(error)", cause: error)
        }
    }

    /// A connected socket, and an export of the server behind it.
    package struct Export {
        let socket: Int32
        let name: String

        package init(_ socket: Int32, _ name: String) { (self.socket, self.name) = (socket, name) }
    }

    /// Takes over sockets that a server listens at the other ends of; they are closed whatever comes of it.
    ///
    /// The bytes are those of `export`. What is zero is not asked of it, but of `tellers`, in their order: what all of them call zero is.
    /// Whether `export` can still be read is then shown by a read at the very end.
    ///
    /// - Parameter requestByteCount: bytes asked for at once; no request crosses a multiple of it.
    package static func open(
        adopting export: Export, tellers: [Export], name: String, consistency: String, consistentAt: Int64?,
        requestByteCount: Int, patience: Duration = defaultPatience
    ) throws(EngineError) -> NBDSource {
        var left = ([export] + tellers)[...]
        defer { for export in left { close(export.socket) } }
        do throws(NBDFailure) {
            var connections: [NBDConnection] = []
            while let next = left.popFirst() {
                connections.append(
                    try NBDConnection(.socket(next.socket, export: next.name), patience: patience))
            }
            return try NBDSource(
                connections, readerCount: 1, tellers: Array(1..<connections.count), name: name,
                consistency: consistency, consistentAt: consistentAt, patience: patience,
                requestByteCount: requestByteCount)
        } catch {
            throw EngineError(.source, "\"\(name)\" cannot be read: \(error)", cause: error)
        }
    }

    /// Takes over a socket that a server listens at the other end of.
    static func adopting(
        _ socket: Int32, name: String, patience: Duration
    ) throws(NBDFailure) -> NBDSource {
        try NBDSource(
            [NBDConnection(.socket(socket), patience: patience)], name: name, consistency: "none", consistentAt: nil,
            patience: patience, requestByteCount: usualRequestByteCount)
    }

    private init(
        _ connections: [NBDConnection], readerCount: Int? = nil, tellers: [Int] = [0], name: String,
        consistency: String, consistentAt: Int64?, patience: Duration,
        requestByteCount: Int
    ) throws(NBDFailure) {
        self.connections = connections
        self.readerCount = readerCount ?? connections.count
        self.tellers = tellers
        self.name = name
        self.consistency = consistency
        self.consistentAt = consistentAt
        self.patience = patience
        self.requestByteCount = min(requestByteCount, connections[0].largestReadByteCount)
        imageByteCount = try connections[0].byteCount()
    }

    /// Whether a text is meant as a URI of this kind.
    package static func isURI(_ text: String) -> Bool { schemes.contains { text.hasPrefix($0 + "://") } }

    package func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        try stream(to: sink, plain: nil, progress: progress)
    }

    /// `plain` is what of the image the server reads from a file as it is, and where.
    func stream(to sink: some FrameSink, plain: PlainExtents?, progress: ProgressReport) throws {
        precondition(!isSpent, "internal error: a source that is read after it failed")
        isSpent = true
        let stream = NBDStream(
            name: name, byteCount: imageByteCount, connections: connections, readerCount: readerCount,
            tellers: tellers, patience: patience, requestByteCount: requestByteCount,
            plain: plain, sink: sink)
        try stream.run(progress)
        isSpent = false
    }
}
