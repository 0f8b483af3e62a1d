internal import DiskImage
internal import Synchronization
internal import Workers

/// Finds the partitions of an image that goes by once, from front to back: keeps its start, and of what comes later those bytes that
/// the tables before it point to. A table that is only intact at the end of the image (a GPT's second copy) is not found.
final class PassingPartitions: Sendable {
    private static let headByteCount: UInt64 = 1 << 20
    /// What tables may ask for beyond the start: a GPT's entries, or a chain of sectors.
    private static let wantedByteLimit = 8 << 20

    private struct State {
        /// Sorted by offset.
        var kept: [(start: UInt64, bytes: [UInt8])] = [(0, [])]
        /// What has to come next, and as much of it as has come.
        var wanted: (range: Range<UInt64>, bytes: [UInt8])?
        var position: UInt64 = 0
        var hasLooked = false
    }

    private struct Missing: Error { let range: Range<UInt64> }

    private let state = Mutex(State())

    /// Takes the pieces of the image in their order.
    func take(_ piece: RawPiece) {
        state.withLock { state in
            let range = state.position..<state.position + piece.byteCount
            state.position = range.upperBound
            if UInt64(state.kept[0].bytes.count) < Self.headByteCount {
                let end = min(range.upperBound, Self.headByteCount)
                Self.append(piece, range, range.lowerBound..<max(range.lowerBound, end), to: &state.kept[0].bytes)
            }
            if range.upperBound >= Self.headByteCount, !state.hasLooked {
                state.hasLooked = true
                Self.look(&state, from: range.lowerBound)
            }
            // One sector may point to another one of this very piece.
            while let wanted = state.wanted {
                let part = wanted.range.clamped(to: range)
                guard !part.isEmpty, part.lowerBound == wanted.range.lowerBound + UInt64(wanted.bytes.count) else {
                    return
                }
                var bytes = wanted.bytes
                Self.append(piece, range, part, to: &bytes)
                state.wanted?.bytes = bytes
                guard bytes.count == wanted.range.count else { return }
                state.kept.append((wanted.range.lowerBound, bytes))
                Self.look(&state, from: range.lowerBound)
            }
        }
    }

    /// When all of the image has gone by. Throws `DiskImageError` for a table that contradicts itself.
    func find() throws -> [Partition] {
        try state.withLock { state in
            do {
                return try Self.partitions(state, imageByteCount: state.position)
            } catch is Missing {
                throw DiskImageError(detail: "a partition table points to where the image had gone by")
            }
        }
    }

    private static func append(
        _ piece: RawPiece, _ range: Range<UInt64>, _ part: Range<UInt64>, to bytes: inout [UInt8]
    ) {
        switch piece {
        case .zeros: bytes += [UInt8](repeating: 0, count: part.count)
        case .data(let buffer, let count):
            let start = Int(part.lowerBound - range.lowerBound)
            bytes += UnsafeRawBufferPointer(rebasing: buffer.prefix(count)[start..<start + part.count])
        }
    }

    /// Notes what the tables known so far ask for next, if that can still come.
    private static func look(_ state: inout State, from position: UInt64) {
        state.wanted = nil
        do {
            // How long the image is nobody knows yet.
            _ = try partitions(state, imageByteCount: UInt64(Int64.max))
        } catch let missing as Missing {
            let keptByteCount = state.kept.dropFirst().reduce(0) { $0 + $1.bytes.count }
            guard missing.range.lowerBound >= position,
                missing.range.count <= wantedByteLimit - keptByteCount
            else { return }
            state.wanted = (missing.range, [])
        } catch {
            // `find` says so.
        }
    }

    private static func partitions(_ state: State, imageByteCount: UInt64) throws -> [Partition] {
        try PartitionTable.read(imageByteCount: imageByteCount) { offset, buffer in
            let range = offset..<offset + UInt64(buffer.count)
            let place = state.kept.first { kept in
                kept.start <= range.lowerBound && range.upperBound <= kept.start + UInt64(kept.bytes.count)
            }
            guard let place else { throw Missing(range: range) }
            let start = Int(range.lowerBound - place.start)
            place.bytes.withUnsafeBytes {
                buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + buffer.count]))
            }
        }?.partitions ?? []
    }
}
