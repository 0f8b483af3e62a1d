/// Which archive a cached range belongs to: the fingerprint of its header, which the manifest pins, and where its grid lies.
struct CachedArchive: Hashable, Sendable {
    static let identityByteCount = 32

    /// The identity's 32 bytes as four little-endian integers: no allocation, cheap to compare.
    let words: (UInt64, UInt64, UInt64, UInt64)
    /// What is added to an archive offset to get the grid offset, so that a block starts where the first chunk does:
    /// 0 ..< 65,552.
    let shift: UInt32

    init(identity: [UInt8], gridOrigin: UInt64) {
        precondition(
            identity.count == Self.identityByteCount, "internal error: an archive's identity of \(identity.count) bytes"
        )
        words = identity.withUnsafeBytes { Self.words(at: $0, 0) }
        let block = UInt64(CacheGeometry.blockByteCount)
        shift = UInt32((block - gridOrigin % block) % block)
    }

    /// As it stands in an entry of the index.
    init(identityAt bytes: UnsafeRawBufferPointer, _ offset: Int, shift: UInt32) {
        words = Self.words(at: bytes, offset)
        self.shift = shift
    }

    private static func words(at bytes: UnsafeRawBufferPointer, _ offset: Int) -> (UInt64, UInt64, UInt64, UInt64) {
        (bytes.word(offset), bytes.word(offset + 8), bytes.word(offset + 16), bytes.word(offset + 24))
    }

    func store(in bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.setWord(offset, words.0)
        bytes.setWord(offset + 8, words.1)
        bytes.setWord(offset + 16, words.2)
        bytes.setWord(offset + 24, words.3)
    }

    func gridRange(of archiveRange: Range<UInt64>) -> Range<UInt64> {
        archiveRange.lowerBound + UInt64(shift)..<archiveRange.upperBound + UInt64(shift)
    }

    static func == (left: CachedArchive, right: CachedArchive) -> Bool {
        left.words == right.words && left.shift == right.shift
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
        hasher.combine(shift)
    }
}

// Little-endian integers at any offset.
extension UnsafeRawBufferPointer {
    func word(_ offset: Int) -> UInt64 { UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
    func half(_ offset: Int) -> UInt32 { UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }

    func part(_ range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[range]) }
}

extension UnsafeMutableRawBufferPointer {
    func setWord(_ offset: Int, _ value: UInt64) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    }

    func setHalf(_ offset: Int, _ value: UInt32) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
    }

    func part(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: self[range])
    }
}
