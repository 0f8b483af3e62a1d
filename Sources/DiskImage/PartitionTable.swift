/// One partition of an image.
package struct Partition: Sendable, Hashable {
    /// As Linux numbers them: GPT by its slot, MBR primary 1 to 4, logical from 5.
    package let number: Int
    package let rawOffset: UInt64
    package let byteCount: UInt64
    /// The type GUID of GPT, or `0x83` of MBR.
    package let typeIdentifier: String
    package let name: String

    package init(number: Int, rawOffset: UInt64, byteCount: UInt64, typeIdentifier: String, name: String) {
        self.number = number
        self.rawOffset = rawOffset
        self.byteCount = byteCount
        self.typeIdentifier = typeIdentifier
        self.name = name
    }
}

/// The partitions of an image: GPT (UEFI 2.10 section 5.3) or MBR with extended partitions.
///
/// Only what lies wholly inside the image and is not empty is listed.
package struct PartitionTable: Sendable, Hashable {
    package enum Scheme: String, Sendable, Hashable { case gpt, mbr }

    package let scheme: Scheme
    package let partitions: [Partition]
    package let sectorByteCount: Int

    /// Reads raw bytes; fills the buffer or throws.
    package typealias Read = (_ rawOffset: UInt64, _ into: UnsafeMutableRawBufferPointer) throws -> Void

    /// Finds the table of an image; nil where there is none. Throws what `read` throws, and `DiskImageError` for a GPT whose
    /// both copies are damaged.
    package static func read(imageByteCount: UInt64, read: Read) throws -> PartitionTable? {
        guard imageByteCount >= 512 else { return nil }
        let sector = try block(0, 512, read)
        guard let records = sector.withUnsafeBytes({ BootRecord(BlockReader($0)) }) else { return nil }
        if records.isProtective {
            return try GPT.read(imageByteCount: imageByteCount, read)
        }
        let partitions = try MBR.partitions(records, imageByteCount: imageByteCount, read)
        return partitions.isEmpty ? nil : PartitionTable(scheme: .mbr, partitions: partitions, sectorByteCount: 512)
    }

    static func block(_ offset: UInt64, _ count: Int, _ read: Read) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes { try read(offset, $0) }
        return bytes
    }
}

/// The four records of a boot sector.
struct BootRecord {
    struct Record {
        let type: UInt8
        let firstSector: UInt32
        let sectorCount: UInt32

        /// CHS, LBA and Linux extended partitions.
        var isExtended: Bool { type == 0x05 || type == 0x0f || type == 0x85 }
    }

    let records: [Record]

    /// nil where the sector is none: no signature, or a status byte that no partition has (the boot sector of a file system).
    init?(_ sector: BlockReader) {
        guard sector.integer(510, as: UInt16.self) == 0xaa55 else { return nil }
        var records: [Record] = []
        for index in 0..<4 {
            let start = 446 + index * 16
            guard let status = sector.integer(start, as: UInt8.self), status & 0x7f == 0,
                let type = sector.integer(start + 4, as: UInt8.self),
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

private enum MBR {
    /// Chains longer than this are refused: Linux takes fewer.
    private static let logicalLimit = 128

    static func partitions(
        _ boot: BootRecord, imageByteCount: UInt64, _ read: PartitionTable.Read
    ) throws -> [Partition] {
        var partitions: [Partition] = []
        for (index, record) in boot.records.enumerated() where record.type != 0 && !record.isExtended {
            add(index + 1, UInt64(record.firstSector), record, imageByteCount, &partitions)
        }
        guard let extended = boot.records.first(where: { $0.isExtended && $0.sectorCount > 0 }) else { return partitions }
        // The chain: each record's first entry is a partition, relative to it; the second the next, relative to the start.
        let base = UInt64(extended.firstSector)
        let end = base + UInt64(extended.sectorCount)
        var sector = base
        var visited: Set<UInt64> = []
        var number = 5
        while visited.insert(sector).inserted, visited.count <= logicalLimit, (sector + 1) * 512 <= imageByteCount {
            let bytes = try PartitionTable.block(sector * 512, 512, read)
            guard let link = bytes.withUnsafeBytes({ BootRecord(BlockReader($0)) }) else { break }
            let first = link.records[0]
            if first.type != 0, !first.isExtended {
                add(number, sector + UInt64(first.firstSector), first, imageByteCount, &partitions)
                number += 1
            }
            let next = link.records[1]
            guard next.isExtended, next.sectorCount > 0 else { break }
            sector = base + UInt64(next.firstSector)
            guard sector < end else { break }
        }
        return partitions
    }

    private static func add(
        _ number: Int, _ firstSector: UInt64, _ record: BootRecord.Record, _ imageByteCount: UInt64,
        _ partitions: inout [Partition]
    ) {
        let offset = firstSector * 512
        let size = UInt64(record.sectorCount) * 512
        guard firstSector > 0, size > 0, offset + size <= imageByteCount else { return }
        let type = String(record.type, radix: 16)
        partitions.append(
            Partition(
                number: number, rawOffset: offset, byteCount: size,
                typeIdentifier: "0x" + (type.count < 2 ? "0" : "") + type, name: ""))
    }
}
