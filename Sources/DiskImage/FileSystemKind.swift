/// What kind of file system, or other content, a partition holds: by its signature, so also one that is damaged elsewhere.
package enum FileSystemKind: Sendable, Hashable {
    /// ext2, ext3, ext4. `needsRecovery`: its journal holds what is not in its place yet, for it was mounted.
    case extended(needsRecovery: Bool)
    case xfs
    case btrfs
    case ntfs
    /// FAT12, FAT16, FAT32. `isDirty`: it was mounted.
    case fat(isDirty: Bool)
    case exfat
    case swap
    case luks
    case logicalVolume

    package var name: String {
        switch self {
        case .extended: "ext2/3/4"
        case .xfs: "XFS"
        case .btrfs: "btrfs"
        case .ntfs: "NTFS"
        case .fat: "FAT"
        case .exfat: "exFAT"
        case .swap: "swap"
        case .luks: "LUKS"
        case .logicalVolume: "LVM"
        }
    }

    /// Looks at the first `ImageHead.byteCount` bytes of a partition or image; nil for none that is known.
    package init?(head: UnsafeRawBufferPointer) {
        let block = BlockReader(head)
        if Self.isLUKS(head) {
            self = .luks
        } else if block.hasText("XFSB", at: 0) {
            self = .xfs
        } else if block.hasText("NTFS    ", at: 3) {
            self = .ntfs
        } else if block.hasText("EXFAT   ", at: 3) {
            self = .exfat
        } else if block.hasText("LABELONE", at: 512), block.hasText("LVM2 001", at: 536) {
            self = .logicalVolume
        } else if block.hasText("_BHRfS_M", at: (64 << 10) + 64) {
            self = .btrfs
        } else if block.hasText("SWAPSPACE2", at: 4086) {
            self = .swap
        } else if block.integer(1024 + 0x38, as: UInt16.self) == 0xef53 {
            // INCOMPAT_RECOVER (kernel documentation, filesystems/ext4).
            let incompatible = block.integer(1024 + 0x60, as: UInt32.self) ?? 0
            self = .extended(needsRecovery: incompatible & 0x4 != 0)
        } else if block.integer(510, as: UInt16.self) == 0xaa55, let dirty = Self.fatState(block) {
            self = .fat(isDirty: dirty)
        } else {
            return nil
        }
    }

    /// Six bytes that are no text: `LUKS`, 0xba, 0xbe.
    private static func isLUKS(_ head: UnsafeRawBufferPointer) -> Bool {
        head.prefix(6).elementsEqual([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe])
    }

    /// Bit 0 of the byte that Windows and Linux keep the state in: at 0x41 of FAT32, 0x25 of the others. nil: no FAT.
    private static func fatState(_ block: BlockReader) -> Bool? {
        let offset: Int
        if block.hasText("FAT32   ", at: 82) {
            offset = 0x41
        } else if block.hasText("FAT12   ", at: 54) || block.hasText("FAT16   ", at: 54) {
            offset = 0x25
        } else {
            return nil
        }
        return block.integer(offset, as: UInt8.self).map { $0 & 1 != 0 }
    }
}
