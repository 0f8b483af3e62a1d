internal import DiskImage
internal import Glibc
internal import Workers

/// What reading a source to its end has shown; nothing is kept of the bytes.
package struct SourceReading: Sendable {
    package let rawByteCount: UInt64
    /// What was read, and not known to be zeros without reading.
    package let dataByteCount: UInt64
    package let milliseconds: Int64
}

extension ImageSource {
    /// Reads every byte, and refuses what a backup would refuse of the image itself. Nothing is compressed, hashed or stored.
    package func readThrough(
        frameByteCount: Int = 1 << 20, progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> SourceReading {
        let sink = ReadingSink(frameByteCount: frameByteCount)
        let start = ContinuousClock.now
        do {
            try stream(to: sink, progress: progress)
        } catch {
            throw EngineError(error, subject: "reading \"\(name)\"")
        }
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        guard sink.rawByteCount > 0 else {
            throw EngineError(.emptyImage, "\"\(name)\" is empty: there is nothing to back up")
        }
        if let byteCount, byteCount != sink.rawByteCount {
            throw EngineError(
                .incompleteImage, "\"\(name)\" has \(byteCount) bytes and \(sink.rawByteCount) came")
        }
        try checkClaims(of: sink.head, rawByteCount: sink.rawByteCount)
        return SourceReading(
            rawByteCount: sink.rawByteCount, dataByteCount: sink.dataByteCount,
            milliseconds: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
    }
}

/// Refuses an image that is shorter than it says of itself in its first bytes.
func checkClaims(of head: [UInt8], rawByteCount: UInt64) throws(EngineError) {
    let claims = head.withUnsafeBytes { ImageHead.declaredSizes(in: $0) }
    guard let claim = claims.first(where: { $0.byteCount > rawByteCount }) else { return }
    throw EngineError(
        .incompleteImage,
        "the image is cut short: its \(claim.structure) needs \(claim.byteCount) bytes, \(rawByteCount) came")
}

private final class ReadingSink: FrameSink {
    let frameByteCount: Int
    private let buffers: BufferPool
    private(set) var head: [UInt8] = []
    private(set) var rawByteCount: UInt64 = 0
    private(set) var dataByteCount: UInt64 = 0

    init(frameByteCount: Int) {
        self.frameByteCount = frameByteCount
        buffers = BufferPool(capacityByteCount: (FrameWindow.frameLimit + 1) * max(frameByteCount, 1 << 20))
    }

    func awaitRoom() {}
    func takeFrameBuffer() -> Buffer { buffers.takeWaiting(byteCount: frameByteCount) }

    func submit(_ raw: Buffer, count: Int) {
        if head.count < ImageHead.byteCount {
            head.append(contentsOf: raw.prefix(min(count, ImageHead.byteCount - head.count)))
        }
        rawByteCount += UInt64(count)
        dataByteCount += UInt64(count)
    }

    func submitZeroBlocks(_ blocks: UInt64) {
        let count = blocks * UInt64(frameByteCount)
        if head.count < ImageHead.byteCount {
            head.append(contentsOf: repeatElement(0, count: Int(min(UInt64(ImageHead.byteCount - head.count), count))))
        }
        rawByteCount += count
    }
}
