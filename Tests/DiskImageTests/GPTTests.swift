import Testing

@testable import DiskImage

@Suite("GUID partition tables")
struct GPTTests {
    private static let byteCount: UInt64 = 64 << 20
    private static let script = """
        sgdisk -n 1:2048:+1M -t 1:ef00 -c 1:'EFI system' -n 3:8192:+2M -c 3:'Wurzel äöü 🌳' -n 128:0:0 -t 128:8e00 $image
        """

    private func image() throws -> ImageFile { try ImageFile(byteCount: Self.byteCount, script: Self.script) }

    @Test(.timeLimit(.minutes(1))) func `the partitions of sgdisk are found`() throws {
        let table = try #require(try image().partitionTable(byteCount: Self.byteCount))
        #expect(table.scheme == .gpt && table.sectorByteCount == 512)
        let known = [
            Partition(
                number: 1, rawOffset: 1 << 20, byteCount: 1 << 20,
                typeIdentifier: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", name: "EFI system"),
            Partition(
                number: 3, rawOffset: 4 << 20, byteCount: 2 << 20,
                typeIdentifier: "0fc63daf-8483-4772-8e79-3d69d8477de4", name: "Wurzel äöü 🌳"),
        ]
        #expect(Array(table.partitions.prefix(2)) == known)
        // The last takes what is left: all but the 33 sectors of the backup table, or whole MiB of that.
        let last = try #require(table.partitions.last)
        #expect(table.partitions.count == 3 && last.number == 128 && last.rawOffset == 6 << 20)
        #expect(last.typeIdentifier == "e6d6d379-f507-44c2-a23c-238f2a3df928" && last.name.isEmpty)
        let end = last.rawOffset + last.byteCount
        #expect(end <= Self.byteCount - 33 * 512 && end >= Self.byteCount - (2 << 20))
    }

    @Test(.timeLimit(.minutes(1))) func `the backup header says how long the image is`() throws {
        let sizes = try image().declaredSizes()
        #expect(sizes == [DeclaredSize(structure: "GPT backup header", byteCount: Self.byteCount)])
    }

    /// Offsets into the image: the header's signature, its CRC, a field, an entry, an unused entry.
    @Test(.timeLimit(.minutes(1)), arguments: [512, 528, 552, 1057, 17024] as [UInt64])
    func `the backup table serves where the primary is damaged`(position: UInt64) throws {
        let image = try image()
        let whole = try image.partitionTable(byteCount: Self.byteCount)
        let old = try image.bytes(at: position, count: 1)
        try image.write([old[0] ^ 1], at: position)
        #expect(try image.partitionTable(byteCount: Self.byteCount) == whole)
        // And with the backup damaged too, there is an error and not an empty table.
        try image.write([0], at: Self.byteCount - 512)
        #expect(throws: DiskImageError.self) { try image.partitionTable(byteCount: Self.byteCount) }
    }

    @Test(.timeLimit(.minutes(1))) func `on a larger disk the backup is found through the header`() throws {
        let image = try image()
        let whole = try image.partitionTable(byteCount: Self.byteCount)
        try image.run("truncate -s +1M $image")
        #expect(try image.partitionTable(byteCount: Self.byteCount + (1 << 20)) == whole)
        try image.write([0xff], at: 1024)
        #expect(try image.partitionTable(byteCount: Self.byteCount + (1 << 20)) == whole)
    }

    @Test(.timeLimit(.minutes(1))) func `a partition that a cut image does not hold is left out`() throws {
        let image = try image()
        let last = try #require(try image.partitionTable(byteCount: Self.byteCount)?.partitions.last)
        let end = last.rawOffset + last.byteCount
        #expect(try image.partitionTable(byteCount: end)?.partitions.map(\.number) == [1, 3, 128])
        #expect(try image.partitionTable(byteCount: end - 1)?.partitions.map(\.number) == [1, 3])
        #expect(try image.partitionTable(byteCount: (6 << 20) - 512)?.partitions.map(\.number) == [1])
    }

    @Test func `sectors of 4096 bytes are understood`() throws {
        var image = ImageBytes(byteCount: 4096 * 300)
        image.putRecord(0, type: 0xee, first: 1, count: 299)
        for (header, other, entries) in [(UInt64(1), UInt64(299), UInt64(2)), (299, 1, 298)] {
            image.putGPT(
                headerSector: header, alternate: other, entriesSector: entries, sectorByteCount: 4096,
                entries: [(10, 19), (20, 20)])
        }
        let table = try #require(try image.partitionTable())
        #expect(table.sectorByteCount == 4096)
        #expect(table.partitions.map(\.rawOffset) == [40960, 81920])
        #expect(table.partitions.map(\.byteCount) == [40960, 4096])
        #expect(image.declaredSizes() == [DeclaredSize(structure: "GPT backup header", byteCount: 4096 * 300)])
        image.bytes[4096 + 50] ^= 1
        #expect(try image.partitionTable() == table)
    }

    @Test func `an image too small for its GPT is an error, at any size`() throws {
        for count in [512, 513, 1023, 1024, 1536, 4095, 4096, 8191, 8192, 20000] {
            var image = ImageBytes(byteCount: count)
            image.putRecord(0, type: 0xee, first: 1, count: .max)
            #expect(throws: DiskImageError.self) { try image.partitionTable() }
            #expect(image.declaredSizes().isEmpty)
        }
    }

    @Test func `hostile entries are left out, whatever their checksums`() throws {
        let max = UInt64.max
        let entries: [(first: UInt64, last: UInt64)] = [
            (40, 49), (0, 10), (50, 49), (max, max), (0, max), (1, max), (60, max), (max / 512, max / 512 + 5),
            (60, 2000),
            (1 << 55, 1 << 56), (45, 55), (99, 99), (100, 100),
        ]
        var image = ImageBytes(byteCount: 100 * 512)
        image.putRecord(0, type: 0xee, first: 1, count: 99)
        image.putGPT(headerSector: 1, alternate: 99, entriesSector: 2, entries: entries)
        let table = try #require(try image.partitionTable())
        // The first, an overlapping one (Linux shows it too), and one in the last sector.
        #expect(table.partitions.map(\.number) == [1, 11, 12])
        #expect(table.partitions.allSatisfy { $0.rawOffset + $0.byteCount <= 51200 && $0.byteCount > 0 })
    }

    @Test func `hostile headers are refused, whatever their checksums`() throws {
        let changes: [(String, (inout ImageBytes, Int) -> Void)] = [
            ("four billion entries", { $0.put(UInt32.max, at: $1 + 80) }),
            ("more entries than 4 MiB", { $0.put(UInt32(32769), at: $1 + 80) }),
            ("entries of no bytes", { $0.put(UInt32(0), at: $1 + 84) }),
            ("entries of 64 bytes", { $0.put(UInt32(64), at: $1 + 84) }),
            ("entries of 4 GiB", { $0.put(UInt32.max, at: $1 + 84) }),
            ("entries behind the end", { $0.put(UInt64(99), at: $1 + 72) }),
            ("entries far behind the end", { $0.put(UInt64.max, at: $1 + 72) }),
            ("entries at an offset that overflows", { $0.put(UInt64(1) << 55, at: $1 + 72) }),
            ("a header of no bytes", { $0.put(UInt32(0), at: $1 + 12) }),
            ("a header of 4 GiB", { $0.put(UInt32.max, at: $1 + 12) }),
            ("a header that stands elsewhere", { $0.put(UInt64(2), at: $1 + 24) }),
        ]
        for (what, change) in changes {
            var image = ImageBytes(byteCount: 100 * 512)
            image.putRecord(0, type: 0xee, first: 1, count: 99)
            image.putGPT(
                headerSector: 1, alternate: .max, entriesSector: 2, entries: Array(repeating: (40, 49), count: 128),
                change: change)
            #expect(throws: DiskImageError.self, "\(what)") { try image.partitionTable() }
        }
    }

    @Test func `a backup header at a sector that overflows claims nothing`() {
        for alternate in [UInt64.max, 1 << 55] {
            var image = ImageBytes(byteCount: 100 * 512)
            image.putRecord(0, type: 0xee, first: 1, count: 99)
            image.putGPT(headerSector: 1, alternate: alternate, entriesSector: 2, entries: [(40, 49)])
            #expect(image.declaredSizes().isEmpty)
        }
    }

    @Test func `a read that fails is not an absent table`() {
        struct Failure: Error {}
        #expect(throws: Failure.self) {
            try PartitionTable.read(imageByteCount: 1 << 20) { _, _ in throw Failure() }
        }
    }
}
