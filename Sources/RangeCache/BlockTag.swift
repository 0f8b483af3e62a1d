internal import CryptoPrimitives

/// The checksum of a block: Poly1305 under a key made of what the block is.
///
/// The key is no secret: the tag notices torn, stale, moved and decayed blocks, not a forger. Whoever can write into the
/// state folder is stopped by the AEAD, as at a backend.
enum BlockTag {
    /// Eight bytes each, so that no key of one kind is a key of the other.
    private static let blockDomain: StaticString = "hf-rc-b1"
    private static let entryDomain: StaticString = "hf-rc-e1"

    /// The tag of a block's valid bytes. `block` counts from the start of the archive's grid.
    static func ofBlock(
        _ block: UInt64, of archive: CachedArchive, valid: Range<Int>, _ bytes: UnsafeRawBufferPointer
    ) -> Poly1305.Tag {
        // domain 8, identity 32, shift 4, start 4, block 8.
        withUnsafeTemporaryAllocation(byteCount: 56, alignment: 8) { input in
            input.copyMemory(from: UnsafeRawBufferPointer(start: blockDomain.utf8Start, count: 8))
            archive.store(in: input, at: 8)
            input.setHalf(40, archive.shift)
            input.setHalf(44, UInt32(valid.lowerBound))
            input.setWord(48, block)
            return tag(of: bytes, keyedBy: UnsafeRawBufferPointer(input))
        }
    }

    /// The tag of an entry of the index, which is bound to its slot.
    static func ofEntry(inSlot slot: UInt32, _ bytes: UnsafeRawBufferPointer) -> Poly1305.Tag {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { input in
            input.copyMemory(from: UnsafeRawBufferPointer(start: entryDomain.utf8Start, count: 8))
            input.setWord(8, UInt64(slot))
            return tag(of: bytes, keyedBy: UnsafeRawBufferPointer(input))
        }
    }

    private static func tag(of bytes: UnsafeRawBufferPointer, keyedBy input: UnsafeRawBufferPointer) -> Poly1305.Tag {
        SHA256Hasher.digest(of: input).bytes.withUnsafeBytes { Poly1305.tag(of: bytes, key: $0) }
    }
}
