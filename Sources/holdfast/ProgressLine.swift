internal import Foundation
internal import Glibc

/// One line on a terminal that shows phase, share, rate and time left; nothing in a pipe.
final class ProgressLine {
    private let isShown = StandardStream.error.isTerminal
    private var phase = ""
    private var phaseStart = ProgressLine.now
    private var lastShown = 0.0

    /// Shows that `done` of `total` bytes are done; at most five times a second. `total` 0: unknown.
    func show(_ phase: String, _ done: UInt64, _ total: UInt64) {
        guard isShown else { return }
        let now = Self.now
        if phase != self.phase {
            self.phase = phase
            phaseStart = now
            lastShown = 0
        }
        guard now - lastShown >= 0.2 || (done == total && total > 0) else { return }
        lastShown = now
        let rate = Double(done) / max(0.001, now - phaseStart)
        var text = "\(phase): \(readableSize(done))"
        if total > 0 {
            text += " of \(readableSize(total)) (\(done * 100 / total) %)"
        }
        text += ", \(readableSize(UInt64(rate)))/s"
        if total > done, rate > 0 {
            let left = Int(Double(total - done) / rate)
            text += String(format: ", %d:%02d left", left / 60, left % 60)
        }
        StandardStream.error.write("\r\u{1B}[K" + text)
    }

    /// Clears the line.
    func end() {
        if isShown, lastShown > 0 { StandardStream.error.write("\r\u{1B}[K") }
        lastShown = 0
    }

    private static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
