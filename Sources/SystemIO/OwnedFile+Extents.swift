import Glibc

extension OwnedFile {
    /// The size of a regular file or of a block device, in bytes.
    ///
    /// Other kinds have none: `.illegalSeek`. For block devices the corresponding request is `BLKGETSIZE64`.
    package func byteCount() throws(Errno) -> UInt64 {
        let facts = try facts()
        switch facts.kind {
        case .regular: return facts.byteCount
        case .blockDevice: return try blockDeviceByteCount()
        case .directory: throw .isDirectory
        case .symbolicLink, .characterDevice, .pipe, .socket, .other: throw .illegalSeek
        }
    }

    /// The first offset at or after `offset` that holds data, or nil if there is only a hole up to the end.
    ///
    /// File systems without hole information, and block devices, call everything data. Moves the file offset.
    /// The corresponding C function is `lseek` with `SEEK_DATA`.
    package func seekData(from offset: UInt64) throws(Errno) -> UInt64? {
        // SEEK_DATA and SEEK_HOLE, unistd.h; they stand behind _GNU_SOURCE, so they are repeated here.
        try seek(offset, whence: 3)
    }

    /// The first offset at or after `offset` in a hole; the end of the file counts as one. Nil at or beyond the end.
    ///
    /// Moves the file offset. The corresponding C function is `lseek` with `SEEK_HOLE`.
    package func seekHole(from offset: UInt64) throws(Errno) -> UInt64? {
        try seek(offset, whence: 4)
    }

    private func seek(_ offset: UInt64, whence: Int32) throws(Errno) -> UInt64? {
        guard let start = off_t(exactly: offset) else { throw .invalidArgument }
        let number = descriptor
        do {
            return UInt64(try Errno.check { lseek(number, start, whence) })
        } catch {
            if error == .noSuchDeviceOrAddress { return nil }
            throw error
        }
    }

    /// The size of the open block device in bytes. The corresponding request is `BLKGETSIZE64`.
    package func blockDeviceByteCount() throws(Errno) -> UInt64 {
        var count: UInt64 = 0
        let number = descriptor
        // _IOR(0x12, 114, size_t) of linux/fs.h; a function-like macro, which Swift does not import.
        try Errno.check { withUnsafeMutablePointer(to: &count) { ioctl(number, 0x8008_1272, $0) } }
        return count
    }

    /// The logical sector size of the open block device in bytes. The corresponding request is `BLKSSZGET`.
    package func blockDeviceSectorByteCount() throws(Errno) -> Int {
        var count: Int32 = 0
        let number = descriptor
        // _IO(0x12, 104) of linux/fs.h.
        try Errno.check { withUnsafeMutablePointer(to: &count) { ioctl(number, 0x1268, $0) } }
        return Int(count)
    }

    /// Discards a range of the open block device. What it reads as afterwards is up to the device: use
    /// ``zeroRange(_:)`` where zeros are needed. The corresponding request is `BLKDISCARD`.
    package func discardBlocks(_ range: Range<UInt64>) throws(Errno) {
        // _IO(0x12, 119) of linux/fs.h.
        try blockRange(range, request: 0x1277)
    }

    /// Makes a range read as zeros, giving its space back where file system or device can.
    ///
    /// A block device is zeroed by `BLKZEROOUT` (sector-aligned ranges), a regular file by punching a hole, and
    /// where neither is supported zeros are written. A range beyond the end of a regular file is left alone:
    /// the size never changes.
    package func zeroRange(_ range: Range<UInt64>) throws(Errno) {
        if range.isEmpty { return }
        guard range.upperBound <= UInt64(off_t.max) else { throw .invalidArgument }
        let facts = try facts()
        do throws(Errno) {
            if facts.kind == .blockDevice {
                // _IO(0x12, 127) of linux/fs.h.
                try blockRange(range, request: 0x127f)
            } else {
                try punchHole(range)
            }
            return
        } catch {
            switch error {
            case .notSupported, .notImplemented, .notTerminal: break
            default: throw error
            }
        }
        let end = facts.kind == .regular ? min(range.upperBound, facts.byteCount) : range.upperBound
        if range.lowerBound < end { try writeZeros(range.lowerBound..<end) }
    }

    /// Gives the room of a range back to the file system; the range reads as zeros and the size stays. `.notSupported` where
    /// the file system cannot. The corresponding C function is `fallocate` with `FALLOC_FL_PUNCH_HOLE`.
    package func punchHole(_ range: Range<UInt64>) throws(Errno) {
        if range.isEmpty { return }
        guard range.upperBound <= UInt64(off_t.max) else { throw .invalidArgument }
        guard let fallocate = GNUFunctions.fallocate else { throw .notImplemented }
        let number = descriptor
        // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h.
        try Errno.check { fallocate(number, 1 | 2, off_t(range.lowerBound), off_t(range.count)) }
    }

    private func blockRange(_ range: Range<UInt64>, request: UInt) throws(Errno) {
        if range.isEmpty { return }
        var pair: (UInt64, UInt64) = (range.lowerBound, UInt64(range.count))
        let number = descriptor
        try Errno.check { withUnsafeMutablePointer(to: &pair) { ioctl(number, request, $0) } }
    }

    private func writeZeros(_ range: Range<UInt64>) throws(Errno) {
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { zeros.deallocate() }
        zeros.initializeMemory(as: UInt8.self, repeating: 0)
        var offset = range.lowerBound
        while offset < range.upperBound {
            let count = Int(min(UInt64(zeros.count), range.upperBound - offset))
            try write(UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: offset)
            offset += UInt64(count)
        }
    }
}
