internal import CNBD
internal import Glibc
internal import SystemIO

/// What libnbd says of a failure, in its words.
struct NBDFailure: Error, CustomStringConvertible {
    let description: String

    /// Of the last call of this thread, without the name of the function that begins it.
    static var last: NBDFailure {
        guard let text = nbd_get_error() else { return NBDFailure(description: "no reason was given") }
        let words = String(cString: text)
        let isNamed = words.hasPrefix("nbd_") && words.firstRange(of: ": ") != nil
        let rest = isNamed ? words[words.firstRange(of: ": ")!.upperBound...] : words[...]
        // What a server says is for people to read, not for a terminal to follow.
        return NBDFailure(
            description: String(
                String.UnicodeScalarView(rest.unicodeScalars.filter { $0.properties.generalCategory != .control })))
    }
}

/// One connection to a server of network block devices, over which only reads and questions about extents go.
///
/// One thread at a time. Buffers of reads are written by calls of this object only, and no more once it is gone; whoever lends them
/// keeps them until then or until the read is done.
final class NBDConnection {
    enum Address {
        case uri(String)
        /// A connected socket, which the connection takes over, and the export that is wanted there.
        case socket(Int32, export: String = "")
    }

    private static let allocation = "base:allocation"

    private let handle: OpaquePointer
    /// What the question under way has told so far; the callback writes here.
    private let reply = ExtentReply()

    private final class ExtentReply {
        var map: AllocationMap?
    }

    /// Connects and agrees with the server, within `patience`.
    init(_ address: Address, patience: Duration) throws(NBDFailure) {
        guard let handle = nbd_create() else {
            if case .socket(let descriptor, _) = address { Glibc.close(descriptor) }
            throw .last
        }
        self.handle = handle
        // Buffers are not looked at after a failed read, so libnbd need not fill them with zeros before each.
        _ = nbd_set_pread_initialize(handle, false)
        // The URI is our user's own, and may name a file of keys.
        _ = nbd_set_uri_allow_local_file(handle, true)
        var status = nbd_add_meta_context(handle, Self.allocation)
        switch address {
        case .uri(let uri): if status == 0 { status = nbd_aio_connect_uri(handle, uri) }
        case .socket(let descriptor, let export):
            if status == 0 { status = nbd_set_export_name(handle, export) }
            if status == 0 { status = nbd_aio_connect_socket(handle, descriptor) } else { Glibc.close(descriptor) }
        }
        guard status == 0 else { throw .last }
        let deadline = ContinuousClock.now + patience
        while nbd_aio_is_ready(handle) != 1 {
            let left = (deadline - ContinuousClock.now) / .milliseconds(1)
            guard left > 0 else { throw NBDFailure(description: "the server did not answer for \(patience)") }
            var waiting = waitingFor
            guard poll(&waiting, 1, Int32(min(left + 1, 60_000))) >= 0 || errno == EINTR else {
                throw NBDFailure(description: "poll: \(Errno.current)")
            }
            try notice(waiting.revents)
            if nbd_aio_is_closed(handle) == 1 || nbd_aio_is_dead(handle) == 1 {
                throw NBDFailure(description: "the server ended the connection")
            }
        }
    }

    /// Says goodbye if it can be said at once, and lets go. Where requests are under way it does not: an answer would be read into
    /// buffers that are gone.
    deinit {
        if nbd_aio_is_ready(handle) == 1, nbd_aio_in_flight(handle) == 0, nbd_aio_disconnect(handle, 0) == 0 {
            var waiting = waitingFor
            if poll(&waiting, 1, 100) > 0 { try? notice(waiting.revents) }
        }
        nbd_close(handle)
    }

    // MARK: What the server has said

    func byteCount() throws(NBDFailure) -> UInt64 {
        let size = nbd_get_size(handle)
        guard size >= 0 else { throw .last }
        return UInt64(size)
    }

    /// Whether several connections see the same bytes.
    var canMultiConnect: Bool { nbd_can_multi_conn(handle) == 1 }

    /// Whether it tells what is allocated.
    var tellsExtents: Bool { nbd_can_meta_context(handle, Self.allocation) == 1 }

    /// What it wants to be asked for at most; 32 MiB, which all servers take, where it does not say.
    var largestReadByteCount: Int {
        let size = nbd_get_block_size(handle, Int32(LIBNBD_SIZE_MAXIMUM))
        return size > 0 ? Int(size) : 32 << 20
    }

    /// What reads have to be aligned to.
    var smallestReadByteCount: UInt64 {
        let size = nbd_get_block_size(handle, Int32(LIBNBD_SIZE_MINIMUM))
        return size > 0 ? UInt64(size) : 1
    }

    // MARK: Asking

    /// Starts to fill `buffer`; the answer is what `finished` gives with the cookie returned.
    func startRead(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(NBDFailure) -> Int64 {
        let cookie = nbd_aio_pread(handle, buffer.baseAddress, buffer.count, offset, nbd_completion_callback(), 0)
        guard cookie > 0 else { throw .last }
        return cookie
    }

    /// Asks what is allocated in the rest of `map`; `takeExtents` has the map when the cookie is finished. One question at a time.
    func startExtents(_ map: AllocationMap) throws(NBDFailure) -> Int64 {
        reply.map = map
        let callback = nbd_extent_callback(
            callback: { context, name, _, entries, count, _ in
                guard let context, let name, let entries, strcmp(name, "base:allocation") == 0 else { return 0 }
                let reply = Unmanaged<ExtentReply>.fromOpaque(context).takeUnretainedValue()
                // Pairs of a length and flags. A hole that is not said to be zero may hold anything.
                for index in stride(from: 0, to: count - count % 2, by: 2) {
                    reply.map?.note(
                        UInt64(entries[index]), isZero: entries[index + 1] & UInt32(LIBNBD_STATE_ZERO) != 0)
                }
                return 0
            }, user_data: Unmanaged.passUnretained(reply).toOpaque(), free: nil)
        let count = map.range.upperBound - map.notedEnd
        let cookie = nbd_aio_block_status(handle, count, map.notedEnd, callback, nbd_completion_callback(), 0)
        guard cookie > 0 else { throw .last }
        return cookie
    }

    func takeExtents() -> AllocationMap? {
        defer { reply.map = nil }
        return reply.map
    }

    /// A request that is done, and what went wrong with it; nil if there is none.
    func finished() -> (cookie: Int64, failure: NBDFailure?)? {
        let cookie = nbd_aio_peek_command_completed(handle)
        guard cookie > 0 else { return nil }
        return (cookie, nbd_aio_command_completed(handle, UInt64(cookie)) == 1 ? nil : .last)
    }

    /// For poll(2).
    var waitingFor: pollfd {
        let direction = nbd_aio_get_direction(handle)
        var events: Int32 = 0
        if direction & UInt32(LIBNBD_AIO_DIRECTION_READ) != 0 { events |= POLLIN }
        if direction & UInt32(LIBNBD_AIO_DIRECTION_WRITE) != 0 { events |= POLLOUT }
        return pollfd(fd: nbd_aio_get_fd(handle), events: Int16(events), revents: 0)
    }

    /// Does what poll(2) says can be done.
    func notice(_ events: Int16) throws(NBDFailure) {
        let events = Int32(events)
        var status: Int32 = 0
        if events & (POLLIN | POLLHUP) != 0 {
            status = nbd_aio_notify_read(handle)
        } else if events & POLLOUT != 0 {
            status = nbd_aio_notify_write(handle)
        } else if events & (POLLERR | POLLNVAL) != 0 {
            throw NBDFailure(description: "the server ended the connection")
        }
        guard status == 0 else { throw .last }
        if nbd_aio_is_closed(handle) == 1 || nbd_aio_is_dead(handle) == 1 {
            throw NBDFailure(description: "the server ended the connection")
        }
    }

}
