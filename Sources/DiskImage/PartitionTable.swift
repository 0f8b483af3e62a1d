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
