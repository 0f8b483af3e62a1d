package import Archive
internal import SeekableZstd

/// Raw bytes of an archive at any offset, one frame decoded at a time: for small looks such as a partition table.
/// One thread at a time; the mount reads through its cache instead.
package final class RawReader {
    private let reader: ArchiveReader
    private let decoder = FrameDecoder()
    private var ciphertext: [UInt8] = []
    private var frame: [UInt8] = []
    private var frameIndex: Int?

    package init(reader: ArchiveReader) {
        self.reader = reader
    }

    /// Fills the buffer from `rawOffset` on, which must lie inside the image.
    package func read(at rawOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ArchiveError) {
        let table = reader.seekTable
        guard rawOffset <= table.rawByteCount, UInt64(buffer.count) <= table.rawByteCount - rawOffset else {
            throw ArchiveError(.seekTable, "raw bytes beyond the end of the image were asked for")
        }
        var done = 0
        while done < buffer.count {
            let offset = rawOffset + UInt64(done)
            let index = table.frameIndex(containingRawOffset: offset)
            let range = table.rawRange(ofFrame: index)
            let count = Int(min(UInt64(buffer.count - done), range.upperBound - offset))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
            if table.isZeroFrame(index) {
                part.initializeMemory(as: UInt8.self, repeating: 0)
            } else {
                try load(index)
                let start = Int(offset - range.lowerBound)
                frame.withUnsafeBytes {
                    part.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
                }
            }
            done += count
        }
    }

    private func load(_ index: Int) throws(ArchiveError) {
        guard frameIndex != index else { return }
        frameIndex = nil
        let run = reader.layout.run(ofFrames: index..<index + 1)
        ciphertext = [UInt8](repeating: 0, count: run.ciphertextByteCount)
        frame = [UInt8](repeating: 0, count: Int(reader.seekTable[index].rawByteCount))
        do {
            try ciphertext.withUnsafeMutableBytes { ciphertext in
                try frame.withUnsafeMutableBytes { raw in
                    try reader.read(frame: index, with: decoder, ciphertext: ciphertext, into: raw)
                }
            }
        } catch let error as ArchiveError {
            throw error
        } catch {
            preconditionFailure("internal error: the archive reader throws only ArchiveError")
        }
        frameIndex = index
    }
}
