internal import Archive
internal import CryptoPrimitives
internal import Synchronization
package import Workers

/// What one frame holds.
package enum RawPiece: Sendable {
    /// The first bytes of a buffer, as many as the number says.
    case data(Buffer, Int)
    case zeros(UInt64)

    package var byteCount: UInt64 {
        switch self {
        case .data(_, let count): UInt64(count)
        case .zeros(let count): count
        }
    }
}

/// A hash that only the jobs of one lane touch, and the scan itself when the lane is drained: hence Sendable.
final class ScanHasher: @unchecked Sendable {
    private var hasher = SHA256Hasher()
    private(set) var rawByteCount: UInt64 = 0

    func update(_ bytes: UnsafeRawBufferPointer) { hasher.update(bytes) }

    func update(_ piece: RawPiece) {
        rawByteCount += piece.byteCount
        switch piece {
        case .data(let buffer, let count): hasher.update(buffer.prefix(count))
        case .zeros(let count): hasher.update(zeros: count)
        }
    }

    func finalize() -> SHA256Digest { hasher.finalize() }
}

/// Hands results on in the order of their numbers, whatever the order they come in.
final class InOrder: Sendable {
    private struct State {
        var next = 0
        var waiting: [Int: [RawPiece]] = [:]
    }

    private let state = Mutex(State())

    /// `handOn` is called under the lock: it only queues.
    func deliver(_ number: Int, _ pieces: [RawPiece], handOn: ([RawPiece]) -> Void) {
        state.withLock { state in
            state.waiting[number] = pieces
            while let ready = state.waiting.removeValue(forKey: state.next) {
                state.next += 1
                handOn(ready)
            }
        }
    }
}
