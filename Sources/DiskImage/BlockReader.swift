/// Little-endian integers at offsets of a block; nil beyond its end.
struct BlockReader {
    let bytes: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    func integer<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value? {
        guard offset >= 0, offset + MemoryLayout<Value>.size <= bytes.count else { return nil }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    }

    func bigEndian<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value? {
        integer(offset, as: type)?.byteSwapped
    }

    func hasText(_ text: String, at offset: Int) -> Bool {
        offset + text.utf8.count <= bytes.count && bytes[offset..<offset + text.utf8.count].elementsEqual(text.utf8)
    }
}
