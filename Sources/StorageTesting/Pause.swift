internal import Glibc

/// Blocks a thread for a while, as a store does that waits for a network.
enum Pause {
    static func until(_ instant: ContinuousClock.Instant) {
        while true {
            let rest = (instant - ContinuousClock.now) / .microseconds(1)
            guard rest > 0 else { return }
            usleep(UInt32(min(900_000, rest.rounded(.up))))
        }
    }
}
