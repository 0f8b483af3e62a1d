internal import Synchronization
internal import SystemIO
internal import Workers

// The way of a read: `serve` on the caller's thread, `perform` on a reader thread, `copyOut` on the caller's again.
extension RangeStore {
    /// Fills what is there of a range of the archive. Returns the one stretch that the caller has to fetch: from the first
    /// byte that is missing to the last; nil when none is. Takes no longer than the time-out, once for memory and once for the disk; never fails.
    func serve(
        _ archive: CachedArchive, _ range: Range<UInt64>, into output: UnsafeMutableRawBufferPointer
    ) -> Range<UInt64>? {
        let grid = archive.gridRange(of: range)
        guard diskInUse() != nil, let missing = serveFromDisk(archive, grid, into: output) else {
            counters.misses.add(1)
            return range
        }
        counters.servedBytes.add(UInt64(range.count - missing.count))
        if missing.isEmpty {
            counters.hits.add(1)
            return nil
        }
        if missing.count < range.count { counters.partialHits.add(1) } else { counters.misses.add(1) }
        let shift = UInt64(archive.shift)
        return missing.lowerBound - shift..<missing.upperBound - shift
    }

    /// The missing grid range; nil when the disk was not asked or gave nothing.
    private func serveFromDisk(
        _ archive: CachedArchive, _ grid: Range<UInt64>, into output: UnsafeMutableRawBufferPointer
    ) -> Range<UInt64>? {
        let parts = geometry.parts(of: grid)
        guard let job = plan(archive, parts) else { return nil }
        reads.withLock { reads in
            if reads.isClosed { job.end(.failed) } else { reads.queue.append(job) }
        }
        switch job.wait(milliseconds: settings.readTimeoutMilliseconds) {
        case .done: return copyOut(job, archive, grid, parts, into: output)
        case .failed, .waiting: return nil
        case nil:
            counters.timeouts.add(1)
            suspend("its disk has not answered for \(settings.readTimeoutMilliseconds) ms")
            return nil
        }
    }

    /// What to read for these parts; nil when nothing of them is there, or no memory is left to read it into.
    private func plan(_ archive: CachedArchive, _ parts: [SegmentPart]) -> ReadJob? {
        var pieces: [ReadJob.Piece] = []
        var offset = 0
        table.withLock { table in
            for part in parts {
                guard let slot = table.slot(of: archive, segment: part.segment) else { continue }
                let present = table[slot].blocks & Self.bits(part.blocks)
                guard present != 0 else { continue }
                let blocks = present.trailingZeroBitCount..<64 - present.leadingZeroBitCount
                let dataOffset = offset + geometry.entryByteCount
                pieces.append(
                    ReadJob.Piece(
                        slot: slot, generation: table[slot].generation, part: part, blocks: blocks,
                        entryOffset: offset, dataOffset: dataOffset))
                offset = dataOffset + blocks.count * CacheGeometry.blockByteCount
            }
        }
        guard !pieces.isEmpty, let buffer = takeBounce(offset) else { return nil }
        return ReadJob(pieces: pieces, buffer: buffer, entryByteCount: geometry.entryByteCount)
    }

    /// Waits for the reads before it to give memory back: what is on the disk is not asked of a backend that may be away.
    private func takeBounce(_ byteCount: Int) -> Buffer? {
        guard bounce.fits(byteCount: byteCount) else { return nil }
        return bounce.waitForReturn(byteCount: byteCount, milliseconds: settings.readTimeoutMilliseconds)
    }

    static func bits(_ blocks: Range<Int>) -> UInt64 {
        blocks.reduce(into: UInt64(0)) { $0 |= 1 << UInt64($1) }
    }

    // MARK: On a reader thread

    func runReader() {
        while let job = reads.wait(until: { reads -> ReadJob?? in
            if let job = reads.queue.popFirst() {
                reads.runningCount += 1
                return .some(job)
            }
            return reads.isClosed ? .some(nil) : nil
        }) {
            perform(job)
            reads.withLock { $0.runningCount -= 1 }
        }
    }

    private func perform(_ job: ReadJob) {
        guard let disk = diskInUse() else { return job.end(.failed) }
        do throws(Errno) {
            for piece in job.pieces {
                let entry = job.buffer.bytes.part(piece.entryOffset..<piece.entryOffset + geometry.entryByteCount)
                try read(disk, .index, at: geometry.entryOffset(ofSlot: piece.slot), into: entry)
                let start = piece.blocks.lowerBound * CacheGeometry.blockByteCount
                let count = piece.blocks.count * CacheGeometry.blockByteCount
                let data = job.buffer.bytes.part(piece.dataOffset..<piece.dataOffset + count)
                try read(disk, .data, at: geometry.dataOffset(ofSlot: piece.slot) + UInt64(start), into: data)
            }
            job.end(.done)
        } catch {
            counters.diskErrors.add(1)
            // What cannot be read is not asked for again.
            table.withLock { table in
                for piece in job.pieces where table[piece.slot].generation == piece.generation {
                    table.drop(piece.slot)
                }
            }
            suspend("its disk cannot be read: \(error)")
            job.end(.failed)
        }
    }

    /// Bytes beyond the end of a file that was cut are zeros; their checksums do not hold.
    func read(
        _ disk: any CacheDisk, _ file: CacheFile, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(Errno) {
        let count = try disk.read(file, at: offset, into: buffer)
        if count < buffer.count {
            buffer.part(count..<buffer.count).initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    // MARK: On the caller's thread again

    /// Checks each block that is needed and copies it; returns the stretch from the first missing byte to the last.
    private func copyOut(
        _ job: ReadJob, _ archive: CachedArchive, _ grid: Range<UInt64>, _ parts: [SegmentPart],
        into output: UnsafeMutableRawBufferPointer
    ) -> Range<UInt64> {
        var missing: Range<UInt64>?
        func miss(_ part: SegmentPart, _ block: Int, _ bytes: Range<Int>) {
            let base =
                UInt64(part.segment) * geometry.segmentByteCount + UInt64(block * CacheGeometry.blockByteCount)
            let start = base + UInt64(bytes.lowerBound)
            missing = (missing?.lowerBound ?? start)..<base + UInt64(bytes.upperBound)
        }
        var pieces = job.pieces[...]
        for part in parts {
            let piece = pieces.first?.part == part ? pieces.popFirst() : nil
            let entry = piece.flatMap { wholeEntry(of: $0, job, archive) }
            for block in part.blocks {
                let needed = part.bytes(inBlock: block)
                guard let piece, let entry, piece.blocks.contains(block) else {
                    miss(part, block, needed)
                    continue
                }
                let valid = entry.blocks[block].valid
                guard valid.lowerBound <= needed.lowerBound, needed.upperBound <= valid.upperBound else {
                    miss(part, block, needed)
                    continue
                }
                guard entry.isIntact(block, job.bytes(of: piece, block: block, valid)) else {
                    noteBad(piece, block, archive)
                    miss(part, block, needed)
                    continue
                }
                let offset =
                    UInt64(part.segment) * geometry.segmentByteCount
                    + UInt64(block * CacheGeometry.blockByteCount + needed.lowerBound) - grid.lowerBound
                output.part(Int(offset)..<Int(offset) + needed.count)
                    .copyMemory(from: job.bytes(of: piece, block: block, needed))
            }
        }
        guard let missing else {
            table.withLock { table in
                for piece in job.pieces { table.use(piece.slot, generation: piece.generation) }
            }
            return grid.lowerBound..<grid.lowerBound
        }
        return missing
    }

    /// The entry of a piece, if it is whole and about this segment of this archive.
    private func wholeEntry(of piece: ReadJob.Piece, _ job: ReadJob, _ archive: CachedArchive) -> SlotEntry? {
        let entry = SlotEntry(parsing: job.entry(of: piece), slot: piece.slot)
        if let entry, entry.archive == archive, entry.segment == piece.part.segment { return entry }
        let wasOurs = table.withLock { table in
            // Another generation: the writer was at it, and nothing is wrong.
            guard table[piece.slot].generation == piece.generation else { return false }
            table.drop(piece.slot)
            return true
        }
        if wasOurs { counters.badBlocks.add(1) }
        return nil
    }

    private func noteBad(_ piece: ReadJob.Piece, _ block: Int, _ archive: CachedArchive) {
        let wasThere = table.withLock { table in
            guard table[piece.slot].generation == piece.generation else { return false }
            return table.clearBlocks(1 << UInt64(block), of: piece.slot) != 0
        }
        guard wasThere else { return }
        counters.badBlocks.add(1)
        let start =
            UInt64(piece.part.segment) * geometry.segmentByteCount + UInt64(block * CacheGeometry.blockByteCount)
        submit(.forget(archive, start..<start + UInt64(CacheGeometry.blockByteCount)))
    }

    /// Drops the blocks of a range that were found not to be authentic. From now on they are missing; an insert of the same
    /// bytes that is queued is undone behind it.
    func discard(_ archive: CachedArchive, _ range: Range<UInt64>, wereServed: Bool) {
        let grid = archive.gridRange(of: range)
        var dropped = 0
        table.withLock { table in
            for part in geometry.parts(of: grid) {
                guard let slot = table.slot(of: archive, segment: part.segment) else { continue }
                dropped += table.clearBlocks(Self.bits(part.blocks), of: slot).nonzeroBitCount
            }
        }
        if wereServed { counters.badBlocks.add(UInt64(dropped)) }
        submit(.forget(archive, grid))
    }
}
