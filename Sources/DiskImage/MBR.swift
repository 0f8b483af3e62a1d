/// The four records of a boot sector.
struct BootRecord {
    struct Record {
        let type: UInt8
        let firstSector: UInt32
        let sectorCount: UInt32

        /// CHS addressed, LBA addressed, and Linux extended partitions.
        var isExtended: Bool { type == 0x05 || type == 0x0f || type == 0x85 }
    }

    let records: [Record]

    /// nil where the sector is no partition table: no signature, or a status byte that no partition has, which then is the boot
    /// code of a file system.
    init?(_ sector: BlockReader) {
        self.init(extended: sector)
        guard (0..<4).allSatisfy({ sector.bytes[446 + $0 * 16] & 0x7f == 0 }) else { return nil }
    }

    /// A link of the chain of an extended partition, whose status bytes say nothing.
    init?(extended sector: BlockReader) {
        guard sector.integer(510, as: UInt16.self) == 0xaa55 else { return nil }
        var records: [Record] = []
        for index in 0..<4 {
            let start = 446 + index * 16
            guard let type = sector.integer(start + 4, as: UInt8.self),
                let first = sector.integer(start + 8, as: UInt32.self),
                let count = sector.integer(start + 12, as: UInt32.self)
            else { return nil }
            records.append(Record(type: type, firstSector: first, sectorCount: count))
        }
        self.records = records
    }

    /// Says that a GPT follows.
    var isProtective: Bool { records.contains { $0.type == 0xee } }
}

/// Master boot records. Sectors have 512 bytes here: nothing in the record tells of others.
enum MBR {
    /// Linux numbers at most 255 partitions of a disk.
    private static let numberLimit = 255

    /// As Linux numbers them (block/partitions/msdos.c): a record takes a number by its place or by its turn in the chain, also
    /// where it is left out.
    static func partitions(
        _ boot: BootRecord, imageByteCount: UInt64, _ read: PartitionTable.Read
    ) throws -> [Partition] {
        var partitions: [Partition] = []
        for (index, record) in boot.records.enumerated() where !record.isExtended {
            add(index + 1, UInt64(record.firstSector), record, imageByteCount, &partitions)
        }
        var number = 5
        var visited: Set<UInt64> = []
        for extended in boot.records where extended.isExtended && extended.sectorCount > 0 {
            try addLogical(extended, &number, &visited, imageByteCount, &partitions, read)
        }
        return partitions
    }

    /// Follows the chain: each link lists a partition relative to itself, and the next link relative to the extended partition.
    private static func addLogical(
        _ extended: BootRecord.Record, _ number: inout Int, _ visited: inout Set<UInt64>, _ imageByteCount: UInt64,
        _ partitions: inout [Partition], _ read: PartitionTable.Read
    ) throws {
        let base = UInt64(extended.firstSector)
        let end = base + UInt64(extended.sectorCount)
        var sector = base
        // A link that was seen before closes a loop. Sums of 32-bit sector numbers do not overflow in 64 bits.
        while number <= numberLimit, visited.count < 2 * numberLimit, sector < end,
            (sector + 1) * 512 <= imageByteCount,
            visited.insert(sector).inserted
        {
            let bytes = try PartitionTable.block(sector * 512, 512, read)
            guard let link = bytes.withUnsafeBytes({ BootRecord(extended: BlockReader($0)) }) else { return }
            for (index, record) in link.records.enumerated() where record.sectorCount > 0 && !record.isExtended {
                let first = sector + UInt64(record.firstSector)
                // The third and fourth record are not defined; they count only inside the extended partition.
                if index >= 2, first + UInt64(record.sectorCount) > end { continue }
                guard number <= numberLimit else { return }
                add(number, first, record, imageByteCount, &partitions)
                number += 1
            }
            guard let next = link.records.first(where: { $0.isExtended && $0.sectorCount > 0 }) else { return }
            sector = base + UInt64(next.firstSector)
        }
    }

    private static func add(
        _ number: Int, _ firstSector: UInt64, _ record: BootRecord.Record, _ imageByteCount: UInt64,
        _ partitions: inout [Partition]
    ) {
        let offset = firstSector * 512
        let size = UInt64(record.sectorCount) * 512
        guard record.type != 0, firstSector > 0, size > 0, offset + size <= imageByteCount else { return }
        let type = String(record.type, radix: 16)
        partitions.append(
            Partition(
                number: number, rawOffset: offset, byteCount: size,
                typeIdentifier: "0x" + (type.count < 2 ? "0" : "") + type, name: ""))
    }
}
