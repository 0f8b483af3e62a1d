internal import Synchronization
internal import Workers

/// A read that waits for frames.
///
/// It goes in rounds: every frame that is not at hand is claimed or joined; when all those loads have ended it looks again,
/// and answers when everything is there. A frame that came for it is held, as long as all waiting reads together hold less
/// than a quarter of the cache; otherwise it stays in the cache, and is loaded once more should it be gone by then. So reads
/// that wait for a dead backend do not hold the memory that others need.
///
/// | the load of a frame ends with | the read |
/// |---|---|
/// | the frame | holds it, goes on when no other load is under way |
/// | shed | asks for that frame again, alone |
/// | an error | ends with it |
final class DiskRead: FrameWaiter {
    /// More rounds than this mean that memory is too short to have all frames at once.
    private static let roundLimit = 16

    private struct State {
        var held: [Int: Buffer] = [:]
        var heldByteCount = 0
        /// Loads under way, and one for whoever is asking just now.
        var outstanding = 0
        var rounds = 0
    }

    let answer: PendingRead
    private let range: Range<UInt64>
    private let frames: ClosedRange<Int>
    private let step: ReadAheadPlanner.Step
    private let disk: OpenDisk
    private let path: ReadPath
    /// Frames that are no holes.
    private let neededCount: Int
    private let state = Mutex(State())

    init(
        _ range: Range<UInt64>, in frames: ClosedRange<Int>, _ step: ReadAheadPlanner.Step, of disk: OpenDisk,
        _ path: ReadPath, answer: PendingRead
    ) {
        self.range = range
        self.frames = frames
        self.step = step
        self.disk = disk
        self.path = path
        self.answer = answer
        neededCount = frames.count { !disk.content.isHole($0) }
    }

    deinit { path.letGo(of: state.withLock { $0.heldByteCount }) }

    var isOver: Bool { answer.isOver }

    /// Asks for what is missing, and answers when nothing is. Called at the start, then by the last load of each round.
    func advance() {
        while !isOver {
            let (held, round) = state.withLock { state in
                state.outstanding = 1
                state.rounds += 1
                return (state.held, state.rounds)
            }
            guard round <= Self.roundLimit else {
                answer.end(.failure(FileSystemError(.noMemory, "the memory budget has no room for a read")))
                return
            }
            var found = held
            var claimed: [FrameFlight] = []
            for frame in frames where held[frame] == nil && !disk.content.isHole(frame) {
                // Before the claim, whose load may end before it returns.
                state.withLock { $0.outstanding += 1 }
                let isFresh = round == 1 && step.previousFrames?.contains(frame) != true
                switch path.cache.claim(
                    FrameCache.Key(disk: disk.serial, frame: frame), isFresh: isFresh, waiter: self)
                {
                case .ready(let buffer):
                    found[frame] = buffer
                    state.withLock { $0.outstanding -= 1 }
                case .loading(let flight): path.loader.want(flight, .now, of: disk)
                case .claimed(let flight): claimed.append(flight)
                }
            }
            path.loader.load(
                claimed, of: disk, isDemand: true, frameLimit: round == 1 ? .max : 1
            ) { _ in .now }
            if found.count == neededCount {
                answer.end(.success(path.slices(of: range, in: frames, of: disk, step, from: found)))
                return
            }
            guard finishedOne() else { return }
        }
    }

    func flightEnded(_ frame: Int, _ result: Result<Buffer, FrameCache.LoadFailure>) {
        guard !isOver else { return }
        switch result {
        case .success(let buffer):
            let byteCount = buffer.bytes.count
            let isLast = state.withLock { $0.outstanding == 1 }
            if isLast || path.mayHold(byteCount) {
                state.withLock { state in
                    state.held[frame] = buffer
                    if !isLast { state.heldByteCount += byteCount }
                }
            }
        case .failure(.shed): break
        case .failure(.failed(let error)):
            answer.end(.failure(error))
            return
        }
        if finishedOne() { advance() }
    }

    /// True for the one that ends the round.
    private func finishedOne() -> Bool {
        state.withLock { state in
            state.outstanding -= 1
            return state.outstanding == 0
        }
    }
}
