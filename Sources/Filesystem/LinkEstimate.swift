/// What is known of the way to a backend: how long the smallest request takes, and how many bytes come in a second in which
/// anything was asked for. From both follows how much must be on its way so that the way is never idle.
///
/// A value without a clock: every call says when it is, as a time since any fixed moment.
///
/// The estimate feeds on itself in the right direction: as long as the link has room, what is delivered grows with what is
/// asked for, and the depth (twice the product) doubles; once the link is full, what is delivered stays, and so does the
/// depth.
struct LinkEstimate: Sendable {
    /// A figure of the bandwidth is taken over so many answers at least: a single one says more about its place in the queue.
    static let answersPerSample = 4
    /// An older minimum fades: a way that has become longer is noticed after some hundred answers.
    private static let fading = 512.0

    /// The smoothed minimum of what requests take, in seconds; nil before the first answer.
    private(set) var roundTripSeconds: Double?
    /// 0 before the first figure.
    private(set) var bytesPerSecond = 0.0

    private var inFlight = 0
    /// Since when the time that something was in flight is not counted yet.
    private var busySince = Duration.zero
    private var busySeconds = 0.0
    private var deliveredByteCount = 0
    private var answers = 0

    /// A request is sent.
    mutating func began(at now: Duration) {
        if inFlight == 0 { busySince = now }
        inFlight += 1
    }

    /// A request that was sent at `start` is over: with so many bytes, or with none because it failed.
    mutating func ended(startedAt start: Duration, at now: Duration, byteCount: Int?) {
        busySeconds += (now - busySince).seconds
        busySince = now
        inFlight = max(0, inFlight - 1)
        guard let byteCount else {
            // A time in which a store failed says nothing of its bandwidth.
            (busySeconds, deliveredByteCount, answers) = (0, 0, 0)
            return
        }
        let taken = max(0, (now - start).seconds)
        if let known = roundTripSeconds, taken > known {
            roundTripSeconds = known + (taken - known) / Self.fading
        } else {
            roundTripSeconds = taken
        }
        deliveredByteCount += byteCount
        answers += 1
        guard answers >= Self.answersPerSample, busySeconds >= roundTripSeconds ?? 0, busySeconds > 0 else { return }
        let sample = Double(deliveredByteCount) / busySeconds
        // Up at once, down slowly: random reads in between do not use what the link could give.
        bytesPerSecond = sample > bytesPerSecond ? sample : bytesPerSecond + (sample - bytesPerSecond) / 16
        (busySeconds, deliveredByteCount, answers) = (0, 0, 0)
    }

    /// How many archive bytes should be on their way for a sequential reader: twice what the link holds.
    func depth(atLeast floor: Int, atMost cap: Int) -> Int {
        guard let roundTripSeconds else { return min(floor, cap) }
        let product = 2 * roundTripSeconds * bytesPerSecond
        return min(cap, max(floor, Int(min(product, Double(cap)))))
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
