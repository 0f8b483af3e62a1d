internal import Glibc
internal import Synchronization
internal import SystemIO
internal import Workers

/// Reads the parts of a trace, in their order and many at once, so that they are in the caches when a guest wants them.
///
/// Each part is read through the mount like by anybody; what the reader is told is thrown away. Every thread has files of its
/// own, for the mount takes readers that share one for a single one that reads in order.
package struct WarmUp: Sendable {
    package struct Result: Sendable, Hashable {
        package var partCount = 0
        package var byteCount: UInt64 = 0
        /// Parts behind the end of an image that is shorter than the one of the trace.
        package var absentCount = 0
    }

    /// Enough for a link of 1 Gbit/s at a round trip of 100 ms, with frames of 512 KiB as they are stored.
    package static let standardThreadCount = 32
    /// What a thread reads at once: the most that the kernel asks a file system for.
    private static let readByteCount = 1 << 20

    private struct Progress {
        var result = Result()
        var next = 0
        var failure: ReadTraceError?
        var running = 0
    }

    private let parts: [ReadTrace.Part]
    private let path: @Sendable (String) -> String

    /// - Parameter path: where an image of the trace is found
    package init(_ trace: ReadTrace, path: @escaping @Sendable (String) -> String) {
        parts = trace.parts
        self.path = path
    }

    /// Returns when all is read; the first failure ends it.
    /// - Parameter progress: bytes read so far, of how many; on this thread
    package func run(
        threadCount: Int = standardThreadCount, progress: (UInt64, UInt64) -> Void = { _, _ in }
    ) throws(ReadTraceError) -> Result {
        let total = parts.reduce(0) { $0 + UInt64($1.range.count) }
        let count = max(1, min(threadCount, parts.count))
        var start = Progress()
        start.running = count
        let state = Monitor(start)
        for index in 0..<count {
            NativeThread(name: "warm-\(index)") {
                work(state)
                state.withLock { $0.running -= 1 }
            }.detach()
        }
        while true {
            let end = state.wait(milliseconds: 200) { $0.running == 0 ? $0 : nil }
            progress(state.withLockQuietly { $0.result.byteCount }, total)
            guard let end else { continue }
            if let failure = end.failure { throw failure }
            return end.result
        }
    }

    private func work(_ state: Monitor<Progress>) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.readByteCount, alignment: 4096)
        defer { buffer.deallocate() }
        var files: [String: OpenImage] = [:]
        while true {
            let part = state.withLockQuietly { state -> ReadTrace.Part? in
                guard state.failure == nil, state.next < parts.count else { return nil }
                defer { state.next += 1 }
                return parts[state.next]
            }
            guard let part else { return }
            let name = path(part.image)
            do throws(Errno) {
                let image: OpenImage
                if let open = files[part.image] {
                    image = open
                } else {
                    image = try OpenImage(name)
                    files[part.image] = image
                }
                var offset = part.range.lowerBound
                while offset < part.range.upperBound {
                    let count = min(buffer.count, Int(part.range.upperBound - offset))
                    let read = try image.file.read(at: offset, into: .init(rebasing: buffer[..<count]))
                    guard read > 0 else { break }
                    offset += UInt64(read)
                    state.withLockQuietly { $0.result.byteCount += UInt64(read) }
                }
                state.withLockQuietly { state in
                    state.result.partCount += 1
                    if offset == part.range.lowerBound { state.result.absentCount += 1 }
                }
            } catch {
                let hint: String? =
                    error == .noEntry ? "name the image to read instead: `holdfast warmup TRACE IMAGE`" : nil
                state.withLock { $0.failure = $0.failure ?? ReadTraceError("\(name): \(error)", hint: hint) }
                return
            }
        }
    }
}

/// An image that is read here and there, which the kernel is told: it reads nothing beside what is asked for.
private final class OpenImage: Sendable {
    let file: OwnedFile

    init(_ path: String) throws(Errno) {
        file = try OwnedFile(opening: path, for: .read)
        file.advise(.random)
    }
}
