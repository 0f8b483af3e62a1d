import Glibc
import Testing

@testable import BackupEngine

@Suite("Whether a thread is to end")
struct EndWishTests {
    private static func status(
        _ thread: [Int32] = [], process: [Int32] = [], blocked: [Int32] = [], ignored: [Int32] = [],
        caught: [Int32] = []
    ) -> String {
        func line(_ name: String, _ signals: [Int32]) -> String {
            let mask = signals.reduce(UInt64(0)) { $0 | 1 << UInt64($1 - 1) }
            let digits = String(mask, radix: 16)
            return "\(name):\t" + String(repeating: "0", count: 16 - digits.count) + digits + "\n"
        }
        return "Name:\tdd\nVmSize:\t 12 kB\n" + line("SigPnd", thread) + line("ShdPnd", process)
            + line("SigBlk", blocked) + line("SigIgn", ignored) + line("SigCgt", caught)
    }

    @Test(arguments: [
        (status(), EndWish.none),
        (status([SIGKILL]), .certain),
        (status(process: [SIGTERM]), .certain),
        (status(process: [SIGINT], caught: [SIGINT]), .asked),
        (status(process: [SIGHUP], ignored: [SIGHUP]), .none),
        (status(process: [SIGTERM], blocked: [SIGTERM]), .none),
        (status([SIGCHLD, SIGWINCH, SIGURG, SIGCONT]), .none),
        (status([SIGALRM], caught: [SIGALRM]), .none),
        (status([SIGALRM]), .certain),
        (status([SIGINT], process: [SIGKILL], caught: [SIGINT]), .certain),
    ])
    func `pending signals say it, by what the program does with them`(status: String, wish: EndWish) {
        #expect(EndWish(status: status) == wish)
    }

    @Test func `this thread goes on, one that is not there has ended, an unknown one is asked`() {
        #expect(EndWish.ofThread(getpid()) == .none)
        #expect(EndWish.ofThread(0) == .asked)
        // Beyond the largest identifier that Linux gives: 2^22.
        #expect(EndWish.ofThread(1 << 23) == .certain)
    }
}
