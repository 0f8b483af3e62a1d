internal import CFuse
internal import Filesystem
internal import Glibc

/// A request of the kernel that is answered exactly once: each answer consumes it. One that is dropped answers EIO.
struct FuseReply: ~Copyable {
    // Safe because: libfuse owns the request until it is answered, and only one holder of this value can.
    private nonisolated(unsafe) let request: fuse_req_t

    init(_ request: fuse_req_t) { self.request = request }

    deinit {
        assertionFailure("internal error: a FUSE request was not answered")
        fuse_reply_err(request, EIO)
    }

    /// The thread that asked, 0 where the kernel cannot tell.
    var thread: Int32 { fuse_req_ctx(request).pointee.pid }

    /// Has the kernel's interrupts told to `callback`, together with a number that is not 0. `PendingReplies` has the rules.
    func onInterrupt(_ number: UInt, _ callback: fuse_interrupt_func_t) {
        fuse_req_interrupt_func(request, callback, UnsafeMutableRawPointer(bitPattern: number))
    }

    consuming func none() {
        fuse_reply_none(request)
        discard self
    }

    /// 0 is success.
    consuming func errorNumber(_ number: Int32) {
        fuse_reply_err(request, number)
        discard self
    }

    consuming func success() {
        fuse_reply_err(request, 0)
        discard self
    }

    consuming func error(_ error: any Error) {
        fuse_reply_err(request, errorNumberOf(error))
        discard self
    }

    consuming func entry(_ entry: fuse_entry_param) {
        withUnsafePointer(to: entry) { _ = fuse_reply_entry(request, $0) }
        discard self
    }

    consuming func created(_ entry: fuse_entry_param, _ file: fuse_file_info) {
        withUnsafePointer(to: entry) { entry in
            withUnsafePointer(to: file) { _ = fuse_reply_create(request, entry, $0) }
        }
        discard self
    }

    consuming func attributes(_ status: stat, validSeconds: Double) {
        withUnsafePointer(to: status) { _ = fuse_reply_attr(request, $0, validSeconds) }
        discard self
    }

    consuming func link(_ target: String) {
        fuse_reply_readlink(request, target)
        discard self
    }

    consuming func opened(_ file: fuse_file_info) {
        withUnsafePointer(to: file) { _ = fuse_reply_open(request, $0) }
        discard self
    }

    consuming func written(_ count: Int) {
        fuse_reply_write(request, count)
        discard self
    }

    consuming func bytes(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes {
            _ = fuse_reply_buf(request, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        discard self
    }

    /// One system call from the memory of the slices; nothing is copied here.
    consuming func slices(_ slices: [ReadSlice]) {
        withUnsafeTemporaryAllocation(of: iovec.self, capacity: max(1, slices.count)) { vectors in
            for (index, slice) in slices.enumerated() {
                vectors.initializeElement(
                    at: index,
                    to: iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: slice.bytes.baseAddress), iov_len: slice.bytes.count
                    ))
            }
            fuse_reply_iov(request, vectors.baseAddress, Int32(slices.count))
        }
        withExtendedLifetime(slices) {}
        discard self
    }

    consuming func space(_ figures: statvfs) {
        withUnsafePointer(to: figures) { _ = fuse_reply_statfs(request, $0) }
        discard self
    }

    consuming func attributeByteCount(_ count: Int) {
        fuse_reply_xattr(request, count)
        discard self
    }

    consuming func offset(_ offset: UInt64) {
        fuse_reply_lseek(request, off_t(clamping: offset))
        discard self
    }

    /// A directory listing: entries from `offset` on, as many as fit. The offset of an entry is its position plus one.
    consuming func listing(_ entries: [DirectoryEntry], from offset: Int, byteLimit: Int) {
        var buffer = [CChar](repeating: 0, count: byteLimit)
        var used = 0
        var position = max(0, offset)
        while position < entries.count {
            let entry = entries[position]
            var status = stat()
            // libfuse's FUSE_UNKNOWN_INO, where the kernel has no number yet.
            status.st_ino = ino_t(entry.number ?? 0xffff_ffff)
            status.st_mode = entry.kind.fileTypeBits
            let size = buffer.withUnsafeMutableBufferPointer { buffer in
                fuse_add_direntry(
                    request, buffer.baseAddress?.advanced(by: used), byteLimit - used, entry.name, &status,
                    off_t(position + 1))
            }
            if size > byteLimit - used { break }
            used += size
            position += 1
        }
        fuse_reply_buf(request, buffer, used)
        discard self
    }
}

extension FileKind {
    var fileTypeBits: mode_t {
        switch self {
        case .directory: S_IFDIR
        case .regular: S_IFREG
        case .symbolicLink: S_IFLNK
        }
    }
}
