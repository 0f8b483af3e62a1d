/// How long an image says it is.
package struct DeclaredSize: Sendable, Hashable {
    /// What says so: `GPT backup header`, `ext4 file system`, …
    package let structure: String
    package let byteCount: UInt64
}

/// What the start of an image tells about its length: of a cut image, the beginning is still whole.
///
/// Only structures that are consistent in themselves count, by checksum where they have one, so that random data claims
/// nothing.
package enum ImageHead {
    /// btrfs keeps its superblock at 64 KiB; it is the last that is looked at.
    package static let byteCount = 128 * 1024

    /// Sizes that structures in the first bytes of an image name, partition tables first. A file system is looked for only
    /// where there is no partition table: inside partitions the table's own extents count.
    package static func declaredSizes(in head: UnsafeRawBufferPointer) -> [DeclaredSize] {
        let table = partitionTable(head)
        if let table { return table }
        return [extended(head), xfs(head), btrfs(head), ntfs(head)].compactMap { $0 }
    }

    /// nil where there is no partition table.
    private static func partitionTable(_ head: UnsafeRawBufferPointer) -> [DeclaredSize]? {
        guard head.count >= 512,
            let boot = BootRecord(BlockReader(UnsafeRawBufferPointer(rebasing: head[..<512]))),
            !isBootSectorOfFileSystem(BlockReader(head))
        else { return nil }
        if boot.isProtective {
            for size in [512, 4096] where head.count >= 2 * size {
                let sector = BlockReader(UnsafeRawBufferPointer(rebasing: head[size..<2 * size]))
                guard let header = GPT.Header(sector, at: 1, sectorByteCount: size) else { continue }
                let (count, overflow) = header.alternateSector.addingReportingOverflow(1)
                let (end, overflowToo) = count.multipliedReportingOverflow(by: UInt64(size))
                guard !overflow, !overflowToo else { return [] }
                return [DeclaredSize(structure: "GPT backup header", byteCount: end)]
            }
            return []
        }
        let used = boot.records.filter { $0.type != 0 && $0.sectorCount > 0 && $0.firstSector > 0 }
        // A table has a partition, and none that overlaps another.
        let sorted = used.sorted { $0.firstSector < $1.firstSector }
        let overlaps = zip(sorted, sorted.dropFirst()).contains {
            UInt64($0.firstSector) + UInt64($0.sectorCount) > UInt64($1.firstSector)
        }
        guard !used.isEmpty, !overlaps else { return nil }
        let end = used.map { (UInt64($0.firstSector) + UInt64($0.sectorCount)) * 512 }.max() ?? 0
        return [DeclaredSize(structure: "partition table", byteCount: end)]
    }

    /// A boot sector of FAT, exFAT or NTFS has the signature of a partition table, and boot code in the place of its records.
    private static func isBootSectorOfFileSystem(_ sector: BlockReader) -> Bool {
        sector.hasText("NTFS    ", at: 3) || sector.hasText("EXFAT   ", at: 3) || sector.hasText("FAT1", at: 54)
            || sector.hasText("FAT32   ", at: 82)
    }

    /// ext2, ext3, ext4: superblock at 1024 (kernel documentation, filesystems/ext4).
    private static func extended(_ head: UnsafeRawBufferPointer) -> DeclaredSize? {
        guard head.count >= 2048 else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: head[1024..<2048])
        let block = BlockReader(bytes)
        guard block.integer(0x38, as: UInt16.self) == 0xef53, let shift = block.integer(0x18, as: UInt32.self),
            shift <= 6,
            let low = block.integer(0x04, as: UInt32.self), let compatible = block.integer(0x5c, as: UInt32.self),
            let incompatible = block.integer(0x60, as: UInt32.self),
            let readOnly = block.integer(0x64, as: UInt32.self),
            let perGroup = block.integer(0x24, as: UInt32.self), perGroup > 0, perGroup <= 8 << (10 + shift),
            let first = block.integer(0x14, as: UInt32.self), first <= (shift == 0 ? 1 : 0),
            let inodes = block.integer(0x00, as: UInt32.self), inodes > 0
        else { return nil }
        // At 0x24: clusters in a group, at most what one block of bitmap covers; without bigalloc clusters are blocks.
        // metadata_csum: CRC-32C of the superblock up to its checksum.
        if readOnly & 0x400 != 0, block.integer(0x3fc, as: UInt32.self) != Checksum.crc32cNotInverted(bytes[..<0x3fc]) {
            return nil
        }
        var blocks = UInt64(low)
        if incompatible & 0x80 != 0, let high = block.integer(0x150, as: UInt32.self) { blocks |= UInt64(high) << 32 }
        let (size, overflow) = blocks.multipliedReportingOverflow(by: 1 << (10 + UInt64(shift)))
        guard !overflow, blocks > 0 else { return nil }
        let name = incompatible & 0x2c0 != 0 ? "ext4" : compatible & 0x4 != 0 ? "ext3" : "ext2"
        return DeclaredSize(structure: "\(name) file system", byteCount: size)
    }

    /// XFS: superblock at 0, big-endian (XFS Algorithms & Data Structures).
    private static func xfs(_ head: UnsafeRawBufferPointer) -> DeclaredSize? {
        let block = BlockReader(head)
        guard block.hasText("XFSB", at: 0), let blockSize = block.bigEndian(4, as: UInt32.self),
            (512...65536).contains(blockSize), blockSize.nonzeroBitCount == 1,
            let blocks = block.bigEndian(8, as: UInt64.self), let sectorSize = block.bigEndian(102, as: UInt16.self),
            (512...32768).contains(sectorSize), sectorSize.nonzeroBitCount == 1,
            let version = block.bigEndian(100, as: UInt16.self), Int(sectorSize) <= head.count,
            let groupBlocks = block.bigEndian(84, as: UInt32.self), let groups = block.bigEndian(88, as: UInt32.self),
            UInt64(groupBlocks) * UInt64(groups) >= blocks, groups > 0
        else { return nil }
        if version & 0xf == 5 {
            // The CRC at 224 is over the sector with itself zero, and stored little-endian.
            var sector = Array(head[..<Int(sectorSize)])
            sector.replaceSubrange(224..<228, with: [0, 0, 0, 0])
            guard block.integer(224, as: UInt32.self) == Checksum.crc32c(sector) else { return nil }
        }
        let (size, overflow) = blocks.multipliedReportingOverflow(by: UInt64(blockSize))
        return overflow || size == 0 ? nil : DeclaredSize(structure: "XFS file system", byteCount: size)
    }

    /// btrfs: superblock at 64 KiB. Only a file system on one device tells how long this one is: its device item does.
    private static func btrfs(_ head: UnsafeRawBufferPointer) -> DeclaredSize? {
        guard head.count >= 68 << 10 else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: head[(64 << 10)..<(68 << 10)])
        let block = BlockReader(bytes)
        // dev_item at 201: its total_bytes is at 8.
        guard block.hasText("_BHRfS_M", at: 64), block.integer(48, as: UInt64.self) == 64 << 10,
            let size = block.integer(201 + 8, as: UInt64.self), size > 0
        else { return nil }
        // Checksum type 0 is CRC-32C over all but the checksum's own 32 bytes; others need hashes this module does not have.
        if block.integer(0xc4, as: UInt16.self) == 0 {
            guard block.integer(0, as: UInt32.self) == Checksum.crc32c(bytes[32...]) else { return nil }
        }
        return DeclaredSize(structure: "btrfs file system", byteCount: size)
    }

    /// NTFS: boot sector at 0; its last sector is a copy behind the volume it counts.
    private static func ntfs(_ head: UnsafeRawBufferPointer) -> DeclaredSize? {
        let block = BlockReader(head)
        guard block.hasText("NTFS    ", at: 3), block.integer(510, as: UInt16.self) == 0xaa55,
            let sectorSize = block.integer(11, as: UInt16.self), (256...4096).contains(sectorSize),
            sectorSize.nonzeroBitCount == 1, let perCluster = block.integer(13, as: UInt8.self), perCluster > 0,
            block.integer(14, as: UInt16.self) == 0, let sectors = block.integer(40, as: UInt64.self), sectors > 0
        else { return nil }
        let (count, overflow) = sectors.addingReportingOverflow(1)
        let (size, overflowToo) = count.multipliedReportingOverflow(by: UInt64(sectorSize))
        return overflow || overflowToo ? nil : DeclaredSize(structure: "NTFS file system", byteCount: size)
    }
}
