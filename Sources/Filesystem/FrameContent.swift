internal import Archive
internal import BackupEngine
internal import SeekableZstd
internal import Workers

/// The bytes of a file, cut into frames that are fetched, decoded and cached one by one.
///
/// Offsets are those of the file, stored ranges lie in the archive.
protocol FrameContent: Sendable {
    var byteCount: UInt64 { get }
    var frameCount: Int { get }
    /// The frame with the byte at `offset`, which is less than `byteCount`.
    func frame(containing offset: UInt64) -> Int
    func range(ofFrame frame: Int) -> Range<UInt64>
    /// Zeros, of which nothing has to be fetched.
    func isHole(_ frame: Int) -> Bool
    /// The first byte at or behind `offset` outside a hole; nil when there is none.
    func nextData(at offset: UInt64) -> UInt64?
    /// The start of the next hole at or behind `offset`; the end counts as one.
    func nextHole(at offset: UInt64) -> UInt64
    /// What a frame alone takes of the archive.
    func storedByteCount(ofFrame frame: Int) -> Int
    /// What has to be fetched for these frames, with what lies between them.
    func storedRange(ofFrames frames: ClosedRange<Int>) -> Range<UInt64>
    /// Blocks. `attempt` is 0, or what `discard` said.
    func fetch(_ stored: Range<UInt64>, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws
    /// Of what was fetched for this frame alone; `target` has the frame's size.
    func decode(
        _ frame: Int, _ stored: UnsafeRawBufferPointer, with decoders: FrameDecoderPool,
        into target: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError)
    /// What an attempt fetched for a frame was not authentic: the attempt to fetch with next, nil where there is none.
    func discard(_ frame: Int, attempt: Int) -> Int?
}

/// A disk image: the frames of its archive, decrypted and decompressed.
struct ImageContent: FrameContent {
    let reader: ArchiveReader

    private var table: SeekTable { reader.seekTable }

    var byteCount: UInt64 { reader.rawByteCount }
    var frameCount: Int { table.frameCount }
    func frame(containing offset: UInt64) -> Int { table.frameIndex(containingRawOffset: offset) }
    func range(ofFrame frame: Int) -> Range<UInt64> { table.rawRange(ofFrame: frame) }
    func isHole(_ frame: Int) -> Bool { table.isZeroFrame(frame) }
    func nextData(at offset: UInt64) -> UInt64? { table.nextData(at: offset) }
    func nextHole(at offset: UInt64) -> UInt64 { table.nextHole(at: offset) }
    func storedByteCount(ofFrame frame: Int) -> Int { Int(table[frame].compressedByteCount) }
    func storedRange(ofFrames frames: ClosedRange<Int>) -> Range<UInt64> { run(frames).archiveRange }

    private func run(_ frames: ClosedRange<Int>) -> FrameRun { reader.layout.run(ofFrames: Range(frames)) }

    func fetch(_ stored: Range<UInt64>, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        try reader.fetch(stored, into: buffer, attempt: attempt)
    }

    func decode(
        _ frame: Int, _ stored: UnsafeRawBufferPointer, with decoders: FrameDecoderPool,
        into target: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError) {
        let run = run(frame...frame)
        let result: Result<Void, ArchiveError> = decoders.withDecoder { decoder in
            do throws(ArchiveError) {
                let stream = try reader.decrypt(run, stored, with: decoder)
                try reader.decompress(frame: frame, of: run, stream: stream, with: decoder, into: target)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    func discard(_ frame: Int, attempt: Int) -> Int? { reader.discard(run(frame...frame), attempt: attempt) }
}

/// An archive as it is stored, in pieces of 1 MiB. Nothing checks them here: who copies it has its SHA-256.
struct ArchiveContent: FrameContent {
    private static let frameByteCount: UInt64 = 1 << 20

    let source: any ArchiveSource

    var byteCount: UInt64 { source.byteCount }
    var frameCount: Int { Int((byteCount + Self.frameByteCount - 1) / Self.frameByteCount) }
    func frame(containing offset: UInt64) -> Int { Int(offset / Self.frameByteCount) }

    func range(ofFrame frame: Int) -> Range<UInt64> {
        let start = UInt64(frame) * Self.frameByteCount
        return start..<min(byteCount, start + Self.frameByteCount)
    }

    func isHole(_ frame: Int) -> Bool { false }
    func nextData(at offset: UInt64) -> UInt64? { offset }
    func nextHole(at offset: UInt64) -> UInt64 { byteCount }
    func storedByteCount(ofFrame frame: Int) -> Int { range(ofFrame: frame).count }

    func storedRange(ofFrames frames: ClosedRange<Int>) -> Range<UInt64> {
        range(ofFrame: frames.lowerBound).lowerBound..<range(ofFrame: frames.upperBound).upperBound
    }

    func fetch(_ stored: Range<UInt64>, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        try source.read(at: stored.lowerBound, into: buffer)
    }

    func decode(
        _ frame: Int, _ stored: UnsafeRawBufferPointer, with decoders: FrameDecoderPool,
        into target: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError) {
        target.copyMemory(from: stored)
    }

    func discard(_ frame: Int, attempt: Int) -> Int? { nil }
}
