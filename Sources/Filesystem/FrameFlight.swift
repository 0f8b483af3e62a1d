internal import Synchronization

/// The load of one frame, from the claim to the end. `FrameLoader` drives it, `FrameCache` knows who waits for it.
///
/// | phase | holds | next |
/// |---|---|---|
/// | claimed | nothing | `attach` → queued |
/// | queued | its request, in the queue of the backend's fetchers | `fetched` → decoding, if somebody wants it soon; else parked |
/// | parked | ciphertext | `raise` → decoding; `dropParked` → over (shed) |
/// | decoding | ciphertext and, from a worker's start on, raw memory | over; for want of memory `park` → parked |
/// | over | nothing | |
///
/// How much it is wanted only rises, except that `park` takes back what memory did not allow. The one who gets an action
/// carries it out; every transition gives each action once.
final class FrameFlight: Sendable {
    enum Want: Int, Comparable, Sendable {
        /// Fetched so that the link is never idle; decoded when its reader comes near.
        case later
        /// A reader will be there in a moment.
        case soon
        /// Somebody waits.
        case now

        static func < (left: Want, right: Want) -> Bool { left.rawValue < right.rawValue }
    }

    enum Action {
        case nothing
        /// Queue this request again, before all read-ahead.
        case hurry(FetchRequest)
        case decode(Ciphertext)
    }

    private enum Phase {
        case claimed
        case queued(FetchRequest)
        case parked(Ciphertext)
        case decoding
        case over
    }

    private struct State {
        var want: Want = .later
        var phase: Phase = .claimed
        var attempt = 0
    }

    let key: FrameCache.Key
    private let state = Mutex(State())

    init(key: FrameCache.Key) { self.key = key }

    var want: Want { state.withLock { $0.want } }

    /// The request that fetches it. Also of a frame that is fetched again.
    func attach(_ request: FetchRequest, wanting want: Want) {
        state.withLock { state in
            state.phase = .queued(request)
            state.want = max(state.want, want)
        }
    }

    func raise(to want: Want) -> Action {
        state.withLock { state in
            guard want > state.want else { return .nothing }
            state.want = want
            switch state.phase {
            case .queued(let request): return want == .now ? .hurry(request) : .nothing
            case .parked(let ciphertext):
                state.phase = .decoding
                return .decode(ciphertext)
            case .claimed, .decoding, .over: return .nothing
            }
        }
    }

    func fetched(_ ciphertext: Ciphertext) -> Action { settle(ciphertext, taking: nil) }

    /// There was no memory to decode ahead: it waits until somebody comes nearer, unless somebody has come meanwhile.
    func park(_ ciphertext: Ciphertext) -> Action { settle(ciphertext, taking: .soon) }

    private func settle(_ ciphertext: Ciphertext, taking refused: Want?) -> Action {
        state.withLock { state in
            if state.want == refused { state.want = .later }
            guard state.want == .later else {
                state.phase = .decoding
                return .decode(ciphertext)
            }
            state.phase = .parked(ciphertext)
            return .nothing
        }
    }

    var isParked: Bool {
        state.withLock { if case .parked = $0.phase { true } else { false } }
    }

    /// Gives the ciphertext of a parked frame back; true if the caller must end the flight.
    func dropParked() -> Bool {
        state.withLock { state in
            guard case .parked = state.phase else { return false }
            state.phase = .over
            return true
        }
    }

    /// Which of several fetches of its bytes this is: 0, or what the content said when an earlier one brought bad bytes.
    var attempt: Int { state.withLock { $0.attempt } }

    func tryAgain(attempt: Int) { state.withLock { $0.attempt = attempt } }

    /// The flight is ended in the cache; what it held is let go.
    func end() { state.withLock { $0.phase = .over } }
}
