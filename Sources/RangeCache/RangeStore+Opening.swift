internal import Logging
internal import Synchronization
internal import SystemIO
internal import Workers

// Opening, coming back, and reading what an earlier process left: on the writer thread.
extension RangeStore {
    func open() {
        do throws(Errno) {
            let disk = try openDisk()
            let loaded = try load(disk)
            table.withLock { $0 = loaded }
            turnOn(disk)
        } catch {
            if error == .wouldBlock {
                stayAside("another process uses it", level: .info)
            } else {
                counters.diskErrors.add(1)
                stayAside("it cannot be opened: \(error)")
            }
        }
    }

    private func turnOn(_ disk: any CacheDisk) {
        condition.withLock { condition in
            guard condition.phase != .closed else { return }
            condition.phase = .on
            condition.disk = disk
            condition.isReviving = false
        }
    }

    /// Half open: one small read decides, within the time that readers are given. No readers may hang from before.
    func revive() {
        guard let disk = condition.withLockQuietly({ $0.disk }) else { return open() }
        let start = ContinuousClock.now
        let page = UnsafeMutableRawBufferPointer.allocate(byteCount: IndexHeader.byteCount, alignment: 8)
        defer { page.deallocate() }
        do throws(Errno) {
            _ = try disk.read(.index, at: 0, into: page)
        } catch {
            counters.diskErrors.add(1)
            return stayAside("its disk cannot be read: \(error)")
        }
        let isFast = ContinuousClock.now - start < .milliseconds(settings.readTimeoutMilliseconds)
        guard isFast, reads.withLockQuietly({ $0.runningCount == 0 }) else {
            return stayAside("its disk still does not answer")
        }
        guard IndexHeader(parsing: UnsafeRawBufferPointer(page))?.geometry == geometry else {
            return stayAside("its index was changed by somebody else")
        }
        turnOn(disk)
        log.info("the range cache is used again")
    }

    /// The table of what an earlier process left. Entries that are not whole are left out.
    private func load(_ disk: any CacheDisk) throws(Errno) -> SlotTable {
        struct Found {
            let stamp: UInt64
            let slot: UInt32
            let archive: CachedArchive
            let segment: UInt32
            let blocks: UInt64
        }
        var found: [Found] = []
        let step = max(1, (1 << 20) / geometry.entryByteCount)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: step * geometry.entryByteCount, alignment: 8)
        defer { buffer.deallocate() }
        var slot = 0
        while slot < geometry.slotCount {
            let count = min(step, geometry.slotCount - slot)
            let bytes = buffer.part(0..<count * geometry.entryByteCount)
            try read(disk, .index, at: geometry.entryOffset(ofSlot: UInt32(slot)), into: bytes)
            for index in 0..<count {
                let start = index * geometry.entryByteCount
                let number = UInt32(slot + index)
                let part = UnsafeRawBufferPointer(bytes.part(start..<start + geometry.entryByteCount))
                guard let entry = SlotEntry(parsing: part, slot: number), entry.presentBlocks != 0 else { continue }
                found.append(
                    Found(
                        stamp: entry.stamp, slot: number, archive: entry.archive, segment: entry.segment,
                        blocks: entry.presentBlocks))
            }
            slot += count
        }
        found.sort { $0.stamp < $1.stamp }
        var loaded = SlotTable(slotCount: geometry.slotCount)
        for item in found {
            _ = loaded.restore(item.archive, segment: item.segment, in: item.slot, blocks: item.blocks)
        }
        loaded.stamp = found.last?.stamp ?? 0
        return loaded
    }
}
