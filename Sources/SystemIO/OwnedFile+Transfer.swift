import Glibc

extension OwnedFile {
    /// Reads at `offset` until `buffer` is full or the file ends, and returns how many bytes were read.
    ///
    /// Fewer than `buffer.count` means end of file, never anything else. The corresponding C function is `pread`.
    package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try transfer(buffer.count, at: offset) { (done, position) in
            pread(descriptor, buffer.baseAddress! + done, buffer.count - done, position)
        }
    }

    /// Writes all of `bytes` at `offset`. The corresponding C function is `pwrite`.
    ///
    /// After an error any part of the range may have been written.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        let written = try transfer(bytes.count, at: offset) { (done, position) in
            pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, position)
        }
        // pwrite(2) of a positive count returns 0 only on odd devices; trying for ever would be worse.
        if written != bytes.count { throw .inputOutput }
    }

    /// Reads from the file's own offset until `buffer` is full or the input ends: for pipes and terminals.
    ///
    /// The corresponding C function is `read`.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        try transfer(buffer.count, at: 0) { (done, _) in
            Glibc.read(descriptor, buffer.baseAddress! + done, buffer.count - done)
        }
    }

    /// Writes all of `bytes` at the file's own offset. The corresponding C function is `write`.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
        let written = try transfer(bytes.count, at: 0) { (done, _) in
            Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        }
        if written != bytes.count { throw .inputOutput }
    }

    /// Repeats `step` until `byteCount` bytes are done or a step gives 0. An empty transfer makes no call.
    private func transfer(
        _ byteCount: Int, at offset: UInt64, _ step: (_ done: Int, _ position: off_t) -> Int
    ) throws(Errno) -> Int {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(byteCount))
        guard !overflow, end <= UInt64(off_t.max) else { throw .invalidArgument }
        var done = 0
        while done < byteCount {
            let count = step(done, off_t(offset) + off_t(done))
            if count > 0 {
                done += count
            } else if count == 0 {
                break
            } else {
                let error = Errno.current
                if error != .interrupted { throw error }
            }
        }
        return done
    }

    /// Copies a range of another file to `offset`, by the kernel: it shares blocks where file system and alignment let it. Returns
    /// how many bytes were copied; fewer than the range has means that the other file ends there.
    ///
    /// `.crossDevice`, `.invalidArgument`, `.notSupported` or `.notImplemented` where it cannot for these files: nothing was copied then.
    /// The corresponding C function is `copy_file_range`.
    package func copy(
        from source: borrowing OwnedFile, _ range: Range<UInt64>, to offset: UInt64
    ) throws(Errno) -> UInt64 {
        guard range.upperBound <= UInt64(off_t.max), offset <= UInt64(off_t.max) - UInt64(range.count) else {
            throw .fileTooLarge
        }
        guard let copyFileRange = GNUFunctions.copyFileRange else { throw .notImplemented }
        let (from, to) = (source.descriptor, descriptor)
        var fromOffset = off_t(range.lowerBound)
        var toOffset = off_t(offset)
        var done: UInt64 = 0
        while done < UInt64(range.count) {
            let count = copyFileRange(from, &fromOffset, to, &toOffset, range.count - Int(done), 0)
            if count < 0 {
                let error = Errno.current
                if error != .interrupted { throw error }
                continue
            }
            // Zero is the end of the file; on some file systems of the kernel, and of old kernels, that it cannot.
            if count == 0 { break }
            done += UInt64(count)
        }
        return done
    }

    /// Starts writing the dirty pages of the range to the device, without waiting for them.
    ///
    /// It makes nothing durable; it only makes a later ``synchronize()`` short. The corresponding C function is
    /// `sync_file_range` with `SYNC_FILE_RANGE_WRITE`.
    package func startWriteBack(_ range: Range<UInt64>) throws(Errno) {
        // SYNC_FILE_RANGE_WRITE, linux/fs.h.
        try syncRange(range, flags: 2)
    }

    /// Waits until the pages of the range are written, so that the writer does not run ahead of the device.
    ///
    /// An error here is the write error itself: the kernel reports it once per open file, and a later
    /// ``synchronize()`` would not repeat it. It still makes nothing durable.
    package func finishWriteBack(_ range: Range<UInt64>) throws(Errno) {
        // SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER, linux/fs.h.
        try syncRange(range, flags: 1 | 2 | 4)
    }

    private func syncRange(_ range: Range<UInt64>, flags: UInt32) throws(Errno) {
        guard range.upperBound <= UInt64(off_t.max) else { throw .invalidArgument }
        // A length of zero would mean "to the end of the file".
        if range.isEmpty { return }
        let number = descriptor
        guard let syncFileRange = GNUFunctions.syncFileRange else { throw .notImplemented }
        try Errno.check { syncFileRange(number, off_t(range.lowerBound), off_t(range.count), flags) }
    }

    /// Tells the kernel how the file will be read, so that it sizes its read-ahead.
    ///
    /// Advice only: a file that takes none is not an error. The corresponding C function is `posix_fadvise`.
    package func advise(_ pattern: ReadPattern) {
        let advice =
            switch pattern {
            case .sequential: POSIX_FADV_SEQUENTIAL
            case .random: POSIX_FADV_RANDOM
            case .done: POSIX_FADV_DONTNEED
            }
        _ = posix_fadvise(descriptor, 0, 0, advice)
    }

    package enum ReadPattern: Sendable {
        case sequential, random
        /// The pages in the cache are not needed any more.
        case done
    }
}
