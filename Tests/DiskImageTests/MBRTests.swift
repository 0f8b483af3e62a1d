import Foundation
import Testing

@testable import DiskImage

@Suite("Master boot records")
struct MBRTests {
    private static let byteCount: UInt64 = 64 << 20
    private static let script = """
        sfdisk -q $image <<END
        label: dos
        1: start=2048, size=4096, type=83, bootable
        3: start=8192, size=51200, type=5
        4: start=65536, size=65536, type=c
        5: start=10240, size=2048, type=82
        6: start=14336, size=2048, type=83
        7: start=18432, size=40960, type=fd
        END
        """

    private struct Listed: Hashable {
        let number: Int
        let rawOffset: UInt64
        let byteCount: UInt64
        let type: String
    }

    private func listed(_ table: PartitionTable?) -> Set<Listed> {
        Set(
            (table?.partitions ?? []).map {
                Listed(number: $0.number, rawOffset: $0.rawOffset, byteCount: $0.byteCount, type: $0.typeIdentifier)
            })
    }

    @Test(.timeLimit(.minutes(1))) func `the partitions of sfdisk are found, with the numbers of Linux`() throws {
        let image = try ImageFile(byteCount: Self.byteCount, script: Self.script)
        let table = try #require(try image.partitionTable(byteCount: Self.byteCount))
        #expect(table.scheme == .mbr)
        #expect(table.partitions.map(\.number) == [1, 4, 5, 6, 7])
        // partx numbers as the kernel does.
        let lines = try image.run("partx -g -r -o NR,START,SECTORS,TYPE $image").split(separator: "\n")
        let known = lines.map { line in
            let words = line.split(separator: " ").map(String.init)
            return Listed(
                number: Int(words[0]) ?? -1, rawOffset: (UInt64(words[1]) ?? 0) * 512,
                byteCount: (UInt64(words[2]) ?? 0) * 512,
                type: words[3].count == 3 ? words[3].replacingOccurrences(of: "0x", with: "0x0") : words[3])
        }
        #expect(listed(table) == Set(known.filter { $0.type != "0x05" }))
    }

    @Test(.timeLimit(.minutes(1))) func `the extents say how long the image must be`() throws {
        let image = try ImageFile(byteCount: Self.byteCount, script: Self.script)
        let end: UInt64 = (65536 + 65536) * 512
        #expect(try image.declaredSizes() == [DeclaredSize(structure: "partition table", byteCount: end)])
        #expect(try image.partitionTable(byteCount: end)?.partitions.map(\.number) == [1, 4, 5, 6, 7])
        #expect(try image.partitionTable(byteCount: end - 1)?.partitions.map(\.number) == [1, 5, 6, 7])
        #expect(
            try image.partitionTable(byteCount: (18432 + 40960) * 512 - 512)?.partitions.map(\.number) == [1, 5, 6])
    }

    @Test func `a boot sector without partitions is no table`() throws {
        var image = ImageBytes(byteCount: 4096)
        image.put(UInt16(0xaa55), at: 510)
        #expect(try image.partitionTable() == nil)
        #expect(image.declaredSizes().isEmpty)
        for count in [0, 1, 511] {
            #expect(try ImageBytes(byteCount: count).partitionTable() == nil)
            #expect(ImageBytes(byteCount: count).declaredSizes().isEmpty)
        }
    }

    @Test func `the sector size of records is 512 bytes, and the last sectors are reachable`() throws {
        var image = ImageBytes(byteCount: 100 * 512)
        image.putRecord(0, type: 0x83, first: 99, count: 1)
        image.putRecord(1, type: 0x83, first: 99, count: 2)
        image.putRecord(2, type: 0x83, first: .max, count: .max)
        #expect(try image.partitionTable()?.partitions.map(\.number) == [1])
    }

    @Test func `records that overlap claim no size`() {
        var image = ImageBytes(byteCount: 512)
        image.putRecord(0, type: 0x83, first: 1, count: 100)
        image.putRecord(1, type: 0x83, first: 100, count: 100)
        #expect(image.declaredSizes().isEmpty)
        image.putRecord(1, type: 0x83, first: 101, count: .max)
        #expect(image.declaredSizes().map(\.byteCount) == [(101 + UInt64(UInt32.max)) * 512])
    }

    // MARK: Extended partitions

    /// An extended partition over the sectors 10 to 99, and what its chain holds.
    private func extended(_ links: [(sector: Int, next: UInt32?)]) -> ImageBytes {
        var image = ImageBytes(byteCount: 100 * 512)
        image.putRecord(0, type: 0x05, first: 10, count: 90)
        for link in links {
            image.putRecord(0, type: 0x83, first: 1, count: 2, sector: link.sector)
            if let next = link.next { image.putRecord(1, type: 0x05, first: next, count: 5, sector: link.sector) }
        }
        return image
    }

    @Test func `a chain is followed`() throws {
        let table = try #require(try extended([(10, 10), (20, 20), (30, nil)]).partitionTable())
        #expect(table.partitions.map(\.number) == [5, 6, 7])
        #expect(table.partitions.map { $0.rawOffset / 512 } == [11, 21, 31])
    }

    @Test func `a chain that loops ends`() throws {
        #expect(try extended([(10, 0)]).partitionTable()?.partitions.map(\.number) == [5])
        #expect(try extended([(10, 10), (20, 20), (30, 10)]).partitionTable()?.partitions.map(\.number) == [5, 6, 7])
    }

    @Test func `two extended partitions that share a chain list it once`() throws {
        var image = extended([(10, 10), (20, nil)])
        image.putRecord(1, type: 0x0f, first: 10, count: 90)
        #expect(try image.partitionTable()?.partitions.map(\.number) == [5, 6])
    }

    @Test func `a chain that leaves its extended partition or the image ends`() throws {
        for next in [90, 1000, UInt32.max] {
            #expect(try extended([(10, next)]).partitionTable()?.partitions.map(\.number) == [5])
        }
        var image = extended([(10, 89)])
        image.putRecord(0, type: 0x05, first: 10, count: .max)
        image.bytes.removeLast(1)
        #expect(try image.partitionTable()?.partitions.map(\.number) == [5], "the last sector is cut")
        image = ImageBytes(byteCount: 100 * 512)
        image.putRecord(0, type: 0x05, first: .max, count: .max)
        #expect(try image.partitionTable() == nil)
    }

    @Test func `a logical partition that is left out keeps its number`() throws {
        var image = extended([(10, 10), (20, 20), (30, nil)])
        image.putRecord(0, type: 0x83, first: 1, count: 1000, sector: 20)
        #expect(try image.partitionTable()?.partitions.map(\.number) == [5, 7])
        // A link without a partition takes none.
        image.putRecord(0, type: 0, first: 0, count: 0, sector: 20)
        #expect(try image.partitionTable()?.partitions.map(\.number) == [5, 6])
        #expect(try image.partitionTable()?.partitions.last?.rawOffset == 31 * 512)
    }

    @Test(.timeLimit(.minutes(1))) func `a chain of thousands of links is bounded`() throws {
        var image = ImageBytes(byteCount: 5000 * 512)
        image.putRecord(0, type: 0x05, first: 10, count: 4900)
        for sector in 10..<4900 {
            image.putRecord(0, type: 0x83, first: 1, count: 1, sector: sector)
            image.putRecord(1, type: 0x05, first: UInt32(sector - 9), count: 1, sector: sector)
        }
        #expect(try image.partitionTable()?.partitions.map(\.number) == Array(5...255))
        for sector in 10..<4900 { image.putRecord(0, type: 0, first: 0, count: 0, sector: sector) }
        #expect(try image.partitionTable() == nil)
    }

    @Test(.timeLimit(.minutes(1))) func `random tables list only what lies in the image`() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed of the random tables: \(seed)")
        var generator = Generator(seed: seed)
        for round in 0..<2000 {
            var image = ImageBytes(byteCount: 64 * 512)
            for sector in 0..<64 {
                for index in 0..<4 where Bool.random(using: &generator) {
                    let type: UInt8 = [0x05, 0x0f, 0x85, 0x83, 0, 7][Int.random(in: 0..<6, using: &generator)]
                    image.putRecord(
                        index, type: type, first: .random(in: 0...70, using: &generator),
                        count: Bool.random(using: &generator) ? .random(in: 0...70, using: &generator) : .max,
                        sector: sector)
                }
            }
            let partitions = try image.partitionTable()?.partitions ?? []
            #expect(
                partitions.count <= 255 && Set(partitions.map(\.number)).count == partitions.count, "round \(round)")
            #expect(
                partitions.allSatisfy {
                    $0.byteCount > 0 && $0.rawOffset > 0 && $0.rawOffset + $0.byteCount <= 64 * 512
                },
                "seed \(seed), round \(round)")
            _ = image.declaredSizes()
        }
    }
}
