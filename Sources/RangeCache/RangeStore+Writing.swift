internal import Synchronization
internal import SystemIO
internal import Workers

// The writer thread: the only one that changes the two files.
extension RangeStore {
    /// Queues a copy of what was fetched; drops it when the queue is full, after so long.
    func insert(
        _ archive: CachedArchive, _ range: Range<UInt64>, _ bytes: UnsafeRawBufferPointer, waitingMilliseconds: Int = 0
    ) {
        var room = takesInserts ? inserts.take(byteCount: bytes.count) : nil
        if room == nil, waitingMilliseconds > 0, takesInserts, inserts.fits(byteCount: bytes.count) {
            room = inserts.waitForReturn(byteCount: bytes.count, milliseconds: waitingMilliseconds)
        }
        guard let buffer = room else {
            counters.droppedInserts.add(1)
            return
        }
        buffer.bytes.copyMemory(from: bytes)
        submit(.insert(archive, archive.gridRange(of: range), buffer))
    }

    func runWriter() {
        open()
        while true {
            writes.withLock { $0.isBusy = false }
            let step = writes.wait(milliseconds: settings.maintenanceMilliseconds) { writes -> WriteJob?? in
                if writes.isAborted { return .some(nil) }
                if let job = writes.queue.popFirst() {
                    writes.isBusy = true
                    return .some(job)
                }
                return writes.isClosed ? .some(nil) : nil
            }
            switch step {
            case .some(.some(let job)): perform(job)
            case .some(.none): return
            case .none: maintain()
            }
        }
    }

    private func perform(_ job: WriteJob) {
        if case .revive = job { return revive() }
        // A closed cache still writes what is queued.
        let disk = condition.withLockQuietly { condition in
            condition.phase == .on || condition.phase == .closed ? condition.disk : nil
        }
        do throws(Errno) {
            switch job {
            case .insert(let archive, let grid, let buffer):
                guard let disk, try keepFloor(disk, needed: UInt64(grid.count)) else {
                    counters.droppedInserts.add(1)
                    return
                }
                try insert(archive, grid, buffer.prefix(grid.count), disk)
                condition.withLockQuietly { $0.logged = [] }
            case .forget(let archive, let grid):
                if let disk { try forget(archive, grid, disk) }
            case .revive: break
            }
        } catch {
            counters.diskErrors.add(1)
            pauseInserts("its disk cannot be written: \(error)")
        }
    }

    /// Looks after the free space while nothing is inserted, and after a disk that may be back.
    private func maintain() {
        bounce.trim()
        inserts.trim()
        guard let disk = diskInUse() else { return }
        do throws(Errno) {
            _ = try keepFloor(disk, needed: 0)
        } catch {
            counters.diskErrors.add(1)
            pauseInserts("its disk cannot be written: \(error)")
        }
    }

    // MARK: Insert and forget

    private func insert(
        _ archive: CachedArchive, _ grid: Range<UInt64>, _ bytes: UnsafeRawBufferPointer, _ disk: any CacheDisk
    ) throws(Errno) {
        var done = 0
        for part in geometry.parts(of: grid) {
            try insert(archive, part, bytes.part(done..<done + part.bytes.count), disk)
            done += part.bytes.count
        }
    }

    /// Writes a part of a segment: the old entry is erased first where the slot changes hands, then the data, then the entry.
    /// Killed in between, the next process finds no entry, or the old one with blocks that fail their checksums.
    private func insert(
        _ archive: CachedArchive, _ part: SegmentPart, _ bytes: UnsafeRawBufferPointer, _ disk: any CacheDisk
    ) throws(Errno) {
        let (claim, stamp) = table.withLock { table in
            table.stamp += 1
            return (table.claim(archive, segment: part.segment), table.stamp)
        }
        counters.evicted(blocks: claim.evictedBlocks)
        do throws(Errno) {
            var entry = SlotEntry(
                archive: archive, segment: part.segment, stamp: stamp, blocksPerSlot: geometry.blocksPerSlot)
            if claim.isNew {
                try eraseEntry(ofSlot: claim.slot, disk)
            } else if let old = try readEntry(ofSlot: claim.slot, disk), old.archive == archive,
                old.segment == part.segment
            {
                // What was dropped since is not there, whatever the entry still says.
                let present = table.withLock { $0[claim.slot].blocks }
                for block in old.blocks.indices where present & (1 << UInt64(block)) != 0 {
                    entry.blocks[block] = old.blocks[block]
                }
            } else {
                counters.badBlocks.add(1)
                table.withLock { _ = $0.clearBlocks(.max, of: claim.slot) }
            }
            let written = try merge(part, bytes, into: &entry, slot: claim.slot, disk)
            guard let first = written.first, let last = written.last else { return }
            let base = CacheGeometry.blockByteCount
            let start = max(part.bytes.lowerBound, first * base)
            let end = min(part.bytes.upperBound, (last + 1) * base)
            try disk.write(
                .data, bytes.part(start - part.bytes.lowerBound..<end - part.bytes.lowerBound),
                at: geometry.dataOffset(ofSlot: claim.slot) + UInt64(start))
            try writeEntry(entry, ofSlot: claim.slot, disk)
            let bits = written.reduce(into: UInt64(0)) { $0 |= 1 << UInt64($1) }
            table.withLock { $0.addBlocks(bits, to: claim.slot, archive, segment: part.segment) }
            counters.insertedBytes.add(UInt64(end - start))
        } catch {
            // Whatever is in the slot now, nobody will ask for it; and its room may be what is missing.
            table.withLock { table in
                if table.slot(of: archive, segment: part.segment) == claim.slot { table.drop(claim.slot) }
            }
            try? release(slot: claim.slot, disk)
            throw error
        }
    }

    private func forget(
        _ archive: CachedArchive, _ grid: Range<UInt64>, _ disk: any CacheDisk
    ) throws(Errno) {
        for part in geometry.parts(of: grid) {
            guard let slot = table.withLock({ $0.slot(of: archive, segment: part.segment) }) else { continue }
            table.withLock { _ = $0.clearBlocks(Self.bits(part.blocks), of: slot) }
            guard var entry = try readEntry(ofSlot: slot, disk), entry.archive == archive,
                entry.segment == part.segment
            else { continue }
            for block in part.blocks { entry.blocks[block] = SlotEntry.Block() }
            if entry.presentBlocks == 0 {
                try eraseEntry(ofSlot: slot, disk)
                table.withLock { _ = $0.drop(slot) }
            } else {
                try writeEntry(entry, ofSlot: slot, disk)
            }
        }
    }
}
