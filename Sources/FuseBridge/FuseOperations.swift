internal import CFuse
internal import Filesystem
internal import Glibc

/// The callbacks: decode, call, reply. Nothing is decided here.
enum FuseOperations {
    /// The table that libfuse is given.
    static func table() -> fuse_lowlevel_ops {
        var table = fuse_lowlevel_ops()
        addNames(&table)
        addFiles(&table)
        addStaging(&table)
        return table
    }

    // MARK: Names and attributes

    private static func addNames(_ table: inout fuse_lowlevel_ops) {
        table.`init` = { _, connection in
            guard let connection else { return }
            connection.pointee.max_write = UInt32(FuseContext.transferByteCount)
            connection.pointee.max_read = UInt32(FuseContext.transferByteCount)
            connection.pointee.max_background = 64
            // Replies come from memory of ours; splicing them would only add system calls.
            let splice = UInt32(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE)
            connection.pointee.want &= ~splice
            connection.pointee.want |=
                connection.pointee.capable
                & UInt32(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS)
        }
        table.lookup = { request, parent, name in
            answer(request) { filesystem, context, _ in
                let attributes = try filesystem.lookUp(text(name), in: parent)
                return { $0.entry(context.entry(attributes)) }
            }
        }
        table.forget = { request, number, lookups in
            answer(request) { filesystem, _, _ in
                filesystem.forget(number, lookups: lookups)
                return { $0.none() }
            }
        }
        table.forget_multi = { request, count, items in
            answer(request) { filesystem, _, _ in
                for item in UnsafeBufferPointer(start: items, count: count) {
                    filesystem.forget(item.ino, lookups: item.nlookup)
                }
                return { $0.none() }
            }
        }
        table.getattr = { request, number, _ in
            answer(request) { filesystem, context, _ in
                let attributes = try filesystem.attributes(number)
                return { $0.attributes(context.status(attributes), validSeconds: attributes.validSeconds) }
            }
        }
        table.readlink = { request, number in
            answer(request) { filesystem, _, _ in
                let target = try filesystem.readLink(number)
                return { $0.link(target) }
            }
        }
        table.readdir = { request, number, size, offset, _ in
            answer(request) { filesystem, _, _ in
                let entries = try filesystem.list(number)
                return { $0.listing(entries, from: Int(offset), byteLimit: size) }
            }
        }
        table.statfs = { request, number in
            answer(request) { filesystem, _, _ in
                let space = try filesystem.space(number)
                var figures = statvfs()
                figures.f_bsize = 4096
                figures.f_frsize = 4096
                figures.f_blocks = fsblkcnt_t(space.totalByteCount / 4096)
                figures.f_bfree = fsblkcnt_t(space.availableByteCount / 4096)
                figures.f_bavail = figures.f_bfree
                figures.f_files = fsfilcnt_t(space.fileCount)
                figures.f_namemax = 255
                return { $0.space(figures) }
            }
        }
        table.getxattr = { request, number, name, size in
            answer(request) { filesystem, _, _ in
                let name = try text(name)
                guard let attribute = try filesystem.extendedAttributes(number).first(where: { $0.name == name }) else {
                    throw FileSystemError(.noAttribute, name)
                }
                return try sized(Array(attribute.value.utf8), limit: size)
            }
        }
        table.listxattr = { request, number, size in
            answer(request) { filesystem, _, _ in
                let names = try filesystem.extendedAttributes(number).flatMap { Array($0.name.utf8) + [UInt8(0)] }
                return try sized(names, limit: size)
            }
        }
    }

    // MARK: Files

    private static func addFiles(_ table: inout fuse_lowlevel_ops) {
        table.open = { request, number, file in
            answerStaged(request, file) { filesystem, _, call in
                guard let file else { throw FileSystemError(.invalid, "open without its arguments") }
                var opened = file.pointee
                opened.fh = try filesystem.open(number, intent(file.pointee.flags), call)
                opened.direct_io = 1
                return { [opened] in $0.opened(opened) }
            }
        }
        table.read = { request, _, size, offset, file in
            answer(request) { filesystem, context, _ in
                switch try filesystem.read(file?.pointee.fh ?? 0, at: UInt64(offset), count: size) {
                case .ready(let slices): return { $0.slices(slices) }
                case .pending(let read): return { context.pending.answer($0, when: read) }
                }
            }
        }
        table.lseek = { request, _, offset, whence, file in
            answer(request) { filesystem, _, _ in
                guard offset >= 0 else { throw FileSystemError(.noSuchOffset, "before the start") }
                // SEEK_DATA and SEEK_HOLE of lseek(2); the kernel answers the others itself.
                guard whence == 3 || whence == 4 else { throw FileSystemError(.invalid, "an unknown way to seek") }
                let found = try filesystem.seek(
                    file?.pointee.fh ?? 0, whence == 3 ? .data : .hole, from: UInt64(offset))
                return { $0.offset(found) }
            }
        }
        table.flush = { request, _, file in
            answerStaged(request, file) { filesystem, handle, call in
                try filesystem.flush(handle, call)
                return { $0.success() }
            }
        }
        table.fsync = { request, _, _, file in
            answerStaged(request, file) { filesystem, handle, call in
                try filesystem.synchronize(handle, call)
                return { $0.success() }
            }
        }
        table.release = { request, _, file in
            answer(request) { filesystem, _, _ in
                filesystem.release(file?.pointee.fh ?? 0)
                return { $0.success() }
            }
        }
    }

    // MARK: Staging

    private static func addStaging(_ table: inout fuse_lowlevel_ops) {
        table.mkdir = { request, parent, name, _ in
            answer(request) { filesystem, context, _ in
                let attributes = try filesystem.makeDirectory(text(name), in: parent)
                return { $0.entry(context.entry(attributes)) }
            }
        }
        table.rmdir = { request, parent, name in
            answer(request) { filesystem, _, _ in
                try filesystem.removeDirectory(text(name), in: parent)
                return { $0.success() }
            }
        }
        table.create = { request, parent, name, _, file in
            answer(request) { filesystem, context, _ in
                guard let file else { throw FileSystemError(.invalid, "create without its arguments") }
                let flags = file.pointee.flags
                let (attributes, handle) = try filesystem.create(
                    text(name), in: parent, exclusive: flags & O_EXCL != 0, intent(flags))
                var opened = file.pointee
                opened.fh = handle
                opened.direct_io = 1
                return { [opened] in $0.created(context.entry(attributes), opened) }
            }
        }
        table.write = { request, _, bytes, size, offset, file in
            answerStaged(request, file) { filesystem, handle, call in
                let count = try filesystem.write(
                    handle, UnsafeRawBufferPointer(start: bytes, count: size), at: UInt64(offset), call)
                return { $0.written(count) }
            }
        }
        table.setattr = { request, number, status, mask, file in
            answer(request) { filesystem, context, _ in
                let attributes =
                    if mask & FUSE_SET_ATTR_SIZE != 0, let status {
                        try filesystem.setByteCount(
                            number, UInt64(max(0, status.pointee.st_size)), handle: file?.pointee.fh)
                    } else {
                        try filesystem.setOtherAttributes(number)
                    }
                return { $0.attributes(context.status(attributes), validSeconds: attributes.validSeconds) }
            }
        }
        table.fallocate = { request, _, mode, offset, length, file in
            answer(request) { filesystem, _, _ in
                guard mode == 0 else { throw FileSystemError(.notSupported, "only plain fallocate") }
                try filesystem.allocate(file?.pointee.fh ?? 0, byteCount: UInt64(offset) + UInt64(length))
                return { $0.success() }
            }
        }
        table.unlink = { request, parent, name in
            answer(request) { filesystem, _, _ in
                try filesystem.removeFile(text(name), in: parent)
                return { $0.success() }
            }
        }
        table.rename = { request, parent, name, newParent, newName, flags in
            answer(request) { filesystem, _, _ in
                // RENAME_NOREPLACE of renameat2(2) is 1; exchanging and whiteouts are not for staging.
                guard flags & ~1 == 0 else { throw FileSystemError(.invalid, "an unknown way to rename") }
                try filesystem.rename(
                    text(name), in: parent, to: text(newName), in: newParent, replacing: flags & 1 == 0)
                return { $0.success() }
            }
        }
    }
}

/// Runs `body` and answers with its error, if it throws one; `body` returns how to answer otherwise.
private func answer(
    _ request: fuse_req_t?, _ body: (BackupFilesystem, FuseContext, Int32) throws -> ((consuming FuseReply) -> Void)
) {
    guard let request else { return }
    let reply = FuseReply(request)
    let context = Unmanaged<FuseContext>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
    do {
        let send = try body(context.filesystem, context, reply.thread)
        send(reply)
    } catch {
        reply.error(error)
    }
}

/// As `answer`, for what may wait, in staging or for a local copy: the kernel's interrupts are told to the file system meanwhile.
private func answerStaged(
    _ request: fuse_req_t?, _ file: UnsafeMutablePointer<fuse_file_info>?,
    _ body: (BackupFilesystem, UInt64, StagedCall) throws -> ((consuming FuseReply) -> Void)
) {
    guard let request else { return }
    let reply = FuseReply(request)
    let context = Unmanaged<FuseContext>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
    let handle = file?.pointee.fh ?? 0
    let call = StagedCall(thread: reply.thread)
    let number = context.stagedCalls.add(call, handle)
    reply.onInterrupt(number) { request, data in
        guard let request, let data else { return }
        let context = Unmanaged<FuseContext>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
        guard let (call, handle) = context.stagedCalls.find(UInt(bitPattern: data)) else { return }
        context.filesystem.interrupt(call, handle)
    }
    defer {
        call.end()
        context.stagedCalls.remove(number)
    }
    do {
        let send = try body(context.filesystem, handle, call)
        send(reply)
    } catch {
        reply.error(error)
    }
}

private func text(_ pointer: UnsafePointer<CChar>?) throws -> String {
    guard let pointer, let text = String(validatingCString: pointer) else {
        throw FileSystemError(.invalid, "a name that is not UTF-8")
    }
    return text
}

/// The protocol of extended attributes: with no room the size is asked for, with too little it is ERANGE.
private func sized(_ bytes: [UInt8], limit: Int) throws -> (consuming FuseReply) -> Void {
    if limit == 0 { return { $0.attributeByteCount(bytes.count) } }
    guard bytes.count <= limit else { throw FileSystemError(.bufferTooSmall, "\(bytes.count) bytes") }
    return { $0.bytes(bytes) }
}

private func intent(_ flags: Int32) -> OpenIntent {
    OpenIntent(forWriting: flags & O_ACCMODE != O_RDONLY, truncates: flags & O_TRUNC != 0)
}
