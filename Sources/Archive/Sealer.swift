internal import AgeFormat
internal import CryptoPrimitives
internal import SeekableZstd
internal import Synchronization
internal import Workers

/// A block of finished archive bytes on its way to the sink.
///
/// Safe because: written by the seal lane only, then handed over; only the sink's thread reads it from then on.
final class OutputBlock: @unchecked Sendable {
    /// 16 sealed chunks: just over 1 MiB.
    static let byteCount = 16 * PayloadLayout.sealedChunkByteCount

    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: OutputBlock.byteCount, alignment: 4096)
    fileprivate(set) var count = 0

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[0..<count]) }

    fileprivate var free: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(rebasing: memory[count...]) }
}

/// The last CPU stage: frames in order → 64 KiB chunks → age → SHA-256 of the archive → blocks of output.
///
/// Safe because: only jobs of the writer's seal lane touch it, and the writer itself once that lane is drained; blocks come
/// back through a lock.
final class Sealer: @unchecked Sendable {
    private(set) var table = SeekTable()
    private(set) var archiveByteCount: UInt64 = 0
    var archiveHasher = SHA256Hasher()
    private var cipher: PayloadCipher
    private var nextChunk: UInt64 = 0
    /// Plaintext of the chunk under way. Kept back even when full, for the last chunk of a payload is marked as such.
    private let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: PayloadLayout.chunkByteCount, alignment: 64)
    private var chunkFill = 0
    private var output = OutputBlock()
    private let resting = Mutex<[OutputBlock]>([])

    init(key: PayloadKey, header: [UInt8]) {
        cipher = PayloadCipher(key: key)
        precondition(header.count < OutputBlock.byteCount, "internal error: a header larger than a block")
        header.withUnsafeBytes { output.free.copyMemory(from: $0) }
        output.count = header.count
    }

    deinit {
        chunk.initializeMemory(as: UInt8.self, repeating: 0)
        chunk.deallocate()
    }

    func append(_ frame: Frame, emit: (OutputBlock) -> Void) throws {
        switch frame.content {
        case .data(_, let compressed): append(compressed.prefix(Int(frame.entry.compressedByteCount)), emit)
        case .zeros: ZeroFrame.bytes(rawByteCount: frame.rawByteCount).withUnsafeBytes { append($0, emit) }
        }
        table.append(frame.entry)
    }

    /// Writes the seek table and the last chunk.
    func finish(emit: (OutputBlock) -> Void) throws {
        table.serialized().withUnsafeBytes { append($0, emit) }
        sealChunk(UnsafeRawBufferPointer(rebasing: chunk[0..<chunkFill]), .last, emit)
        emitOutput(emit)
    }

    func recycle(_ block: OutputBlock) {
        block.count = 0
        resting.withLock { if $0.count < 8 { $0.append(block) } }
    }

    /// Adds bytes of the zstd stream. Whole chunks are sealed from where they lie.
    private func append(_ bytes: UnsafeRawBufferPointer, _ emit: (OutputBlock) -> Void) {
        var rest = bytes
        while rest.count > 0 {
            if chunkFill == chunk.count {
                sealChunk(UnsafeRawBufferPointer(chunk), .inner, emit)
                chunkFill = 0
            }
            if chunkFill == 0, rest.count > chunk.count {
                sealChunk(UnsafeRawBufferPointer(rebasing: rest[..<chunk.count]), .inner, emit)
                rest = UnsafeRawBufferPointer(rebasing: rest[chunk.count...])
                continue
            }
            let count = min(rest.count, chunk.count - chunkFill)
            UnsafeMutableRawBufferPointer(rebasing: chunk[chunkFill..<chunkFill + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<count]))
            chunkFill += count
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    private func sealChunk(
        _ plaintext: UnsafeRawBufferPointer, _ position: ChunkPosition, _ emit: (OutputBlock) -> Void
    ) {
        let sealedByteCount = plaintext.count + PayloadLayout.tagByteCount
        if output.free.count < sealedByteCount { emitOutput(emit) }
        let target = UnsafeMutableRawBufferPointer(rebasing: output.free[..<sealedByteCount])
        cipher.seal(chunk: nextChunk, position, plaintext: plaintext, into: target)
        nextChunk += 1
        output.count += sealedByteCount
    }

    private func emitOutput(_ emit: (OutputBlock) -> Void) {
        archiveHasher.update(output.bytes)
        archiveByteCount += UInt64(output.count)
        emit(output)
        output = resting.withLock { $0.popLast() } ?? OutputBlock()
    }
}
