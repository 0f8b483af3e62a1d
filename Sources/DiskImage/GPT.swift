/// GUID partition tables (UEFI 2.10 section 5.3).
enum GPT {
    /// All entries together; Linux takes no more either. The specification's minimum is 16 KiB.
    private static let entriesByteLimit = 4 << 20
    /// Linux numbers at most 255 partitions of a disk.
    private static let numberLimit = 255

    struct Header {
        let sectorByteCount: Int
        let alternateSector: UInt64
        let entriesSector: UInt64
        let entryCount: Int
        let entryByteCount: Int
        let entriesChecksum: UInt32

        /// A header whose own CRC fits, and which says that it stands where it was read.
        init?(_ sector: BlockReader, at number: UInt64, sectorByteCount: Int) {
            guard sector.hasText("EFI PART", at: 0), let size = sector.integer(12, as: UInt32.self),
                (92...UInt32(sectorByteCount)).contains(size), Int(size) <= sector.bytes.count,
                let checksum = sector.integer(16, as: UInt32.self), sector.integer(24, as: UInt64.self) == number,
                let alternate = sector.integer(32, as: UInt64.self), let entries = sector.integer(72, as: UInt64.self),
                let count = sector.integer(80, as: UInt32.self), let entrySize = sector.integer(84, as: UInt32.self),
                let entriesChecksum = sector.integer(88, as: UInt32.self)
            else { return nil }
            var covered = Array(sector.bytes[..<Int(size)])
            covered.replaceSubrange(16..<20, with: [0, 0, 0, 0])
            guard Checksum.crc32(covered) == checksum, entrySize >= 128, entrySize <= 4096, entrySize % 128 == 0,
                UInt64(count) * UInt64(entrySize) <= UInt64(entriesByteLimit)
            else { return nil }
            self.sectorByteCount = sectorByteCount
            alternateSector = alternate
            entriesSector = entries
            entryCount = Int(count)
            entryByteCount = Int(entrySize)
            self.entriesChecksum = entriesChecksum
        }
    }

    /// The table of the first copy that is intact: the primary one, the one at the end of the image, or the one where an intact
    /// primary header says it is (an image that was copied onto a larger disk).
    static func read(imageByteCount: UInt64, _ read: PartitionTable.Read) throws -> PartitionTable {
        for size in [512, 4096] {
            let sectors = imageByteCount / UInt64(size)
            var candidates = [1, sectors > 0 ? sectors - 1 : 0]
            var next = 0
            while next < candidates.count {
                let number = candidates[next]
                next += 1
                guard number > 0, number < sectors else { continue }
                let bytes = try PartitionTable.block(number * UInt64(size), size, read)
                guard let header = bytes.withUnsafeBytes({ Header(BlockReader($0), at: number, sectorByteCount: size) })
                else { continue }
                if let partitions = try partitions(header, imageByteCount: imageByteCount, read) {
                    return PartitionTable(scheme: .gpt, partitions: partitions, sectorByteCount: size)
                }
                if number == 1 { candidates.append(header.alternateSector) }
            }
        }
        throw DiskImageError(detail: "a GPT is announced, and neither of its two copies is intact")
    }

    /// nil where the entries do not have the checksum that the header names.
    private static func partitions(
        _ header: Header, imageByteCount: UInt64, _ read: PartitionTable.Read
    ) throws -> [Partition]? {
        let size = header.entryCount * header.entryByteCount
        let (offset, overflow) = header.entriesSector.multipliedReportingOverflow(by: UInt64(header.sectorByteCount))
        guard !overflow, offset <= imageByteCount, UInt64(size) <= imageByteCount - offset else { return nil }
        let bytes = try PartitionTable.block(offset, size, read)
        guard Checksum.crc32(bytes) == header.entriesChecksum else { return nil }
        return bytes.withUnsafeBytes { bytes in
            (0..<min(header.entryCount, numberLimit)).compactMap { index in
                let start = index * header.entryByteCount
                let entry = UnsafeRawBufferPointer(rebasing: bytes[start..<start + header.entryByteCount])
                return partition(index + 1, BlockReader(entry), header.sectorByteCount, imageByteCount)
            }
        }
    }

    private static func partition(
        _ number: Int, _ entry: BlockReader, _ sectorByteCount: Int, _ imageByteCount: UInt64
    ) -> Partition? {
        guard entry.bytes[..<16].contains(where: { $0 != 0 }), let first = entry.integer(32, as: UInt64.self),
            let last = entry.integer(40, as: UInt64.self), first > 0, last >= first
        else { return nil }
        let start = first.multipliedReportingOverflow(by: UInt64(sectorByteCount))
        let count = (last - first).addingReportingOverflow(1)
        let size = count.partialValue.multipliedReportingOverflow(by: UInt64(sectorByteCount))
        guard !start.overflow, !count.overflow, !size.overflow, start.partialValue <= imageByteCount,
            size.partialValue <= imageByteCount - start.partialValue
        else { return nil }
        // 36 UTF-16 code units, ended by a zero.
        let units = (0..<36).compactMap { entry.integer(56 + 2 * $0, as: UInt16.self) }.prefix { $0 != 0 }
        return Partition(
            number: number, rawOffset: start.partialValue, byteCount: size.partialValue,
            typeIdentifier: guid(entry), name: String(decoding: units, as: UTF16.self))
    }

    /// The first three fields are little-endian, the rest is as it stands.
    private static func guid(_ entry: BlockReader) -> String {
        let order = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15]
        return order.map { index in
            guard index >= 0 else { return "-" }
            let digits = String(entry.bytes[index], radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
