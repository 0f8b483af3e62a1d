import Testing

@testable import DiskImage

/// File systems made by the real programs say how long they are.
@Suite("Sizes that file systems declare")
struct FileSystemSizeTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let structure: String
        let byteCount: UInt64
        /// The size that the file system says, where it does not use the last bytes of the image.
        var declared: UInt64?
        let script: String
        var testDescription: String { "\(script), \(byteCount) bytes" }
    }

    static let cases: [Case] = [
        Case(structure: "ext2 file system", byteCount: 8 << 20, script: "mkfs.ext2 -q -F $image"),
        Case(structure: "ext2 file system", byteCount: 8 << 20, script: "mkfs.ext2 -q -F -b 1024 $image"),
        Case(structure: "ext2 file system", byteCount: 8 << 20, script: "mkfs.ext2 -q -F -r 0 -b 4096 $image"),
        Case(structure: "ext3 file system", byteCount: 32 << 20, script: "mkfs.ext3 -q -F -b 2048 $image"),
        Case(structure: "ext4 file system", byteCount: 64 << 20, script: "mkfs.ext4 -q -F $image"),
        Case(structure: "ext4 file system", byteCount: 64 << 20, script: "mkfs.ext4 -q -F -b 1024 $image"),
        Case(
            structure: "ext4 file system", byteCount: 64 << 20,
            script: "mkfs.ext4 -q -F -O ^metadata_csum,^64bit $image"),
        Case(
            structure: "ext4 file system", byteCount: 256 << 20, script: "mkfs.ext4 -q -F -O bigalloc -C 65536 $image"),
        Case(
            structure: "ext4 file system", byteCount: (64 << 20) + 3583, declared: 64 << 20,
            script: "mkfs.ext4 -q -F -b 4096 $image"),
        Case(structure: "XFS file system", byteCount: 320 << 20, script: "mkfs.xfs -q -f $image"),
        Case(structure: "XFS file system", byteCount: 320 << 20, script: "mkfs.xfs -q -f -m crc=0 $image"),
        Case(structure: "XFS file system", byteCount: 320 << 20, script: "mkfs.xfs -q -f -s size=4096 $image"),
        Case(structure: "XFS file system", byteCount: 2 << 40, script: "mkfs.xfs -q -f -l size=64m -K $image"),
        Case(structure: "btrfs file system", byteCount: 128 << 20, script: "mkfs.btrfs -q -f $image"),
        Case(structure: "btrfs file system", byteCount: 1 << 40, script: "mkfs.btrfs -q -f -K $image"),
        Case(structure: "btrfs file system", byteCount: 128 << 20, script: "mkfs.btrfs -q -f --csum xxhash $image"),
        Case(structure: "btrfs file system", byteCount: 128 << 20, script: "mkfs.btrfs -q -f --csum sha256 $image"),
        Case(structure: "NTFS file system", byteCount: 16 << 20, script: "mkfs.ntfs -q -F -Q $image"),
        Case(structure: "NTFS file system", byteCount: 64 << 20, script: "mkfs.ntfs -q -F -Q -c 65536 $image"),
        Case(structure: "NTFS file system", byteCount: 64 << 20, script: "mkfs.ntfs -q -F -Q -s 4096 $image"),
    ]

    @Test(.timeLimit(.minutes(1)), arguments: cases)
    func `a file system says its size, so that a cut image is noticed`(_ test: Case) throws {
        let image = try ImageFile(byteCount: test.byteCount, script: test.script)
        let sizes = try image.declaredSizes()
        let declared = test.declared ?? test.byteCount
        #expect(sizes == [DeclaredSize(structure: test.structure, byteCount: declared)])
        // So an image cut by one byte or one sector is too short for it, and the whole is not.
        for cut: UInt64 in [1, 512] { #expect(sizes.allSatisfy { $0.byteCount > declared - cut }) }
        #expect(try image.partitionTable(byteCount: test.byteCount) == nil)
    }

    @Test(.timeLimit(.minutes(1))) func `the high half of the count of ext4 blocks counts`() throws {
        let image = try ImageFile(byteCount: 64 << 20, script: "mkfs.ext4 -q -F -b 4096 -O 64bit,^metadata_csum $image")
        try image.write([1], at: 1024 + 0x150)
        #expect(try image.declaredSizes().map(\.byteCount) == [(64 << 20) + (4096 << 32)])
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["-F 12", "-F 16", "-F 32", "-F 32 -S 4096"])
    func `FAT claims no size and is no partition table`(options: String) throws {
        let image = try ImageFile(
            byteCount: 64 << 20, script: "mkfs.vfat -s 8 \(options) $image || mkfs.vfat \(options) $image")
        #expect(try image.declaredSizes().isEmpty)
        #expect(try image.partitionTable(byteCount: 64 << 20) == nil)
    }

    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            ("mkfs.ext4 -q -F $image", 1024 + 4), ("mkfs.ext4 -q -F $image", 1024 + 0x150),
            ("mkfs.xfs -q -f $image", 8 + 5), ("mkfs.xfs -q -f $image", 300),
            ("mkfs.btrfs -q -f $image", 65536 + 210), ("mkfs.btrfs -q -f $image", 65536 + 4000),
        ])
    func `a superblock whose checksum does not fit claims nothing`(script: String, position: Int) throws {
        let image = try ImageFile(byteCount: 320 << 20, script: script)
        #expect(try image.declaredSizes().count == 1)
        let old = try image.bytes(at: UInt64(position), count: 1)
        try image.write([old[0] ^ 0x40], at: UInt64(position))
        #expect(try image.declaredSizes().isEmpty)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a head that is cut anywhere claims what its whole structures say, and never fails`() throws {
        for (script, end) in [
            ("mkfs.ext4 -q -F $image", 2048), ("mkfs.xfs -q -f $image", 512), ("mkfs.btrfs -q -f $image", 68 << 10),
            ("mkfs.ntfs -q -F -Q $image", 512), ("sgdisk -n 1:2048:+1M $image", 1024),
        ] {
            let image = try ImageFile(byteCount: 320 << 20, script: script)
            let head = try image.bytes(at: 0, count: ImageHead.byteCount)
            for count in [
                0, 1, 3, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 4096, 8191, 65536, 69631, 69632, 131_072,
            ] {
                let sizes = head.prefix(count).withUnsafeBytes { ImageHead.declaredSizes(in: $0) }
                #expect(sizes.count == (count >= end ? 1 : 0), "\(script), \(count) bytes")
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func `random data claims nothing`() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed of the random heads: \(seed)")
        var generator = Generator(seed: seed)
        for round in 0..<300 {
            var head = ImageBytes(byteCount: ImageHead.byteCount)
            for offset in [0, 512, 1024, 1536, 4096, 65536, 66048] {
                for word in 0..<64 { head.put(generator.next(), at: offset + word * 8) }
            }
            // With each magic number in its place.
            switch round % 6 {
            case 1: head.put(UInt16(0xaa55), at: 510)
            case 2: head.put(UInt16(0xef53), at: 1024 + 0x38)
            case 3: head.put("XFSB", at: 0)
            case 4: head.put("_BHRfS_M", at: 65536 + 64)
            case 5:
                head.bytes.replaceSubrange(0..<512, with: repeatElement(0, count: 512))
                head.putRecord(0, type: 0xee, first: 1, count: .max)
                head.put("EFI PART", at: 512)
            default: break
            }
            #expect(head.declaredSizes().isEmpty, "seed \(seed), round \(round)")
        }
    }
}
