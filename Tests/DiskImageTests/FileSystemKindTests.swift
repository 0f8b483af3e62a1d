import DiskImage
import Testing

@Suite("Kinds of file systems")
struct FileSystemKindTests {
    private func kind(_ parts: [(Int, [UInt8])], count: Int = ImageHead.byteCount) -> FileSystemKind? {
        var head = [UInt8](repeating: 0, count: count)
        for (offset, bytes) in parts where offset + bytes.count <= count {
            head.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        return head.withUnsafeBytes { FileSystemKind(head: $0) }
    }

    private func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test func `each is known by its signature`() {
        let boot: (Int, [UInt8]) = (510, [0x55, 0xaa])
        #expect(kind([(0, text("XFSB"))]) == .xfs)
        #expect(kind([(3, text("NTFS    ")), boot]) == .ntfs)
        #expect(kind([(3, text("EXFAT   ")), boot]) == .exfat)
        #expect(kind([(0, text("LUKS") + [0xba, 0xbe])]) == .luks)
        #expect(kind([(512, text("LABELONE")), (536, text("LVM2 001"))]) == .logicalVolume)
        #expect(kind([((64 << 10) + 64, text("_BHRfS_M"))]) == .btrfs)
        #expect(kind([(4086, text("SWAPSPACE2"))]) == .swap)
        #expect(kind([(1080, [0x53, 0xef])]) == .extended(needsRecovery: false))
        #expect(kind([(1080, [0x53, 0xef]), (1120, [0x46])]) == .extended(needsRecovery: true))
        #expect(kind([(54, text("FAT12   ")), boot]) == .fat(isDirty: false))
        #expect(kind([(54, text("FAT16   ")), (0x25, [1]), boot]) == .fat(isDirty: true))
        #expect(kind([(82, text("FAT32   ")), (0x41, [1]), boot]) == .fat(isDirty: true))
        #expect(kind([(82, text("FAT32   ")), (0x25, [1]), boot]) == .fat(isDirty: false))
    }

    @Test func `nothing is known of zeros, of a partition table alone, and of what is cut`() {
        #expect(kind([]) == nil && kind([(510, [0x55, 0xaa])]) == nil && kind([(54, text("FAT16   "))]) == nil)
        for count in [0, 1, 3, 511, 512, 1024, 1079, 1081, 4095, 65_600] {
            #expect(kind([((64 << 10) + 64, text("_BHRfS_M")), (1080, [0x53])], count: count) == nil, "\(count) bytes")
        }
    }
}
