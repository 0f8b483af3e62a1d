internal import Workers

/// A piece of an answer: bytes that stay valid as long as the slice lives.
package struct ReadSlice: Sendable {
    /// What keeps the bytes alive; nil for zeros, which live for ever.
    private let owner: (any AnyObject & Sendable)?
    // Safe because: the memory belongs to `owner`, and is only read once a frame is decoded.
    package nonisolated(unsafe) let bytes: UnsafeRawBufferPointer

    init(_ owner: Buffer, _ range: Range<Int>) {
        self.owner = owner
        bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(owner.bytes)[range])
    }

    init(_ owner: FetchMemory.Block, _ bytes: UnsafeMutableRawBufferPointer) {
        self.owner = owner
        self.bytes = UnsafeRawBufferPointer(bytes)
    }

    /// Of a small generated file.
    init(copying bytes: ArraySlice<UInt8>) {
        let copy = Copy(bytes)
        owner = copy
        self.bytes = UnsafeRawBufferPointer(copy.bytes)
    }

    /// Of bytes that `fill` puts into memory of its own.
    init<Failure: Error>(
        filling count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        let copy = Copy(count: count)
        try fill(copy.bytes)
        owner = copy
        bytes = UnsafeRawBufferPointer(copy.bytes)
    }

    init(zeros count: Int) {
        owner = nil
        bytes = Zeros.prefix(count)
    }

    private final class Copy: Sendable {
        // Safe because: written here only.
        nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer

        init(_ source: ArraySlice<UInt8>) {
            bytes = .allocate(byteCount: source.count, alignment: 16)
            source.withUnsafeBytes { bytes.copyMemory(from: $0) }
        }

        init(count: Int) { bytes = .allocate(byteCount: count, alignment: 16) }

        deinit { bytes.deallocate() }
    }
}
