internal import AgeFormat
internal import SeekableZstd
internal import Synchronization
internal import Workers

/// The memory and contexts to decrypt and decompress with: used by one thread at a time, kept for the next.
package final class FrameDecoder {
    var decompressor = FrameDecompressor()
    /// Decrypted bytes of a run. Wiped when the decoder goes.
    private var scratch: UnsafeMutableRawBufferPointer = .init(start: nil, count: 0)

    package init() {}

    deinit { releaseScratch() }

    func scratch(byteCount: Int) -> UnsafeMutableRawBufferPointer {
        if scratch.count < byteCount {
            releaseScratch()
            scratch = .allocate(byteCount: byteCount, alignment: 4096)
        }
        return UnsafeMutableRawBufferPointer(rebasing: scratch[0..<byteCount])
    }

    /// Gives back what an unusually large run needed.
    func trim(toByteCount limit: Int) {
        if scratch.count > limit { releaseScratch() }
    }

    private func releaseScratch() {
        guard scratch.count > 0 else { return }
        scratch.initializeMemory(as: UInt8.self, repeating: 0)
        scratch.deallocate()
        scratch = .init(start: nil, count: 0)
    }
}

/// Decoders at rest. As many exist as threads decode at once.
package final class FrameDecoderPool: Sendable {
    /// Safe because: a decoder is in the pool or with one borrower, never both.
    private struct Resting: @unchecked Sendable { let decoder: FrameDecoder }

    /// A run of four incompressible frames of 1 MiB; larger memory is not kept.
    private static let keptScratchByteCount = 5 << 20
    private let resting = Mutex<[Resting]>([])

    package init() {}

    /// Lends a decoder to `body`.
    package func withDecoder<Result>(_ body: (FrameDecoder) throws -> Result) rethrows -> Result {
        let decoder = resting.withLock { $0.popLast() }?.decoder ?? FrameDecoder()
        defer {
            decoder.trim(toByteCount: Self.keptScratchByteCount)
            let back = Resting(decoder: decoder)
            resting.withLock { $0.append(back) }
        }
        return try body(decoder)
    }
}
