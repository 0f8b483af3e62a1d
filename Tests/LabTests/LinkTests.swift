import Foundation
import TestSupport
import Testing

extension Lab {
    @Suite("Latency and bandwidth", .serialized, .timeLimit(.minutes(1)))
    struct Links {
        let bench: LabBench

        init() throws { bench = try LabBench() }

        /// Downloads at the same time and returns the rate in bits a second, without the first two round trips.
        private func rate(of count: Int, bytes: Int, roundTrip: Double, upload: Bool = false) throws -> Double {
            let script = """
                for i in $(seq \(count)); do
                  curl -sS -o /dev/null \(upload ? "-H Expect: -T zeros" : "") "$0$i" & ids="$ids $!"
                done
                for id in $ids; do wait $id || exit; done
                """
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [
                "bash", "-c", script, bench.lab.endpoint + (upload ? "/b/sink?" : "/b/zeros-\(bytes)?"),
            ]
            process.currentDirectoryURL = URL(fileURLWithPath: bench.folder.path)
            if upload { try Data(count: bytes).write(to: URL(fileURLWithPath: bench.folder.path + "/zeros")) }
            let start = ContinuousClock.now
            try process.run()
            process.waitUntilExit()
            let seconds = (ContinuousClock.now - start) / .seconds(1) - 2 * roundTrip
            #expect(process.terminationStatus == 0)
            return Double(count * bytes * 8) / seconds
        }

        @Test
        func `a small answer takes one round trip, on a new connection two`() throws {
            try bench.lab.setLink(roundTrip: .milliseconds(50), bitsPerSecond: 1e9)
            var seconds: [Double] = []
            // The best of several, for the machine is not ours alone; none may be too quick.
            for _ in 0..<4 {
                let first = try bench.curl("/b/zeros-4096")
                #expect(first.seconds >= 0.1)
                seconds.append(first.seconds)
            }
            #expect(try #require(seconds.min()) < 0.125, "\(seconds)")
        }

        @Test
        func `a connection that is used again costs one round trip`() throws {
            try bench.lab.setLink(roundTrip: .milliseconds(50))
            let start = ContinuousClock.now
            let again = (1...19).flatMap { ["-o", "/dev/null", bench.lab.endpoint + "/b/zeros-\($0)"] }
            _ = try LabBench.curl(bench.lab.endpoint + "/b/zeros-20", again, bench.folder.path, seconds: 20)
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            #expect(try bench.lab.counters().connectionsAccepted == 1)
            #expect(seconds >= 21 * 0.05 && seconds < 21 * 0.05 * 1.25, "\(seconds)")
        }

        @Test(arguments: [(16, 12, false), (1, 128, false), (4, 32, true)])
        func `a gigabit is filled by many connections and by one, and never exceeded`(
            count: Int, mebibytes: Int, upload: Bool
        ) throws {
            try bench.lab.setLink(roundTrip: .milliseconds(50), bitsPerSecond: 1e9)
            var best = 0.0
            for _ in 0..<3 where best < 0.95e9 {
                let rate = try rate(of: count, bytes: mebibytes << 20, roundTrip: 0.05, upload: upload)
                #expect(rate <= 1.005e9)
                best = max(best, rate)
            }
            #expect(best >= 0.95e9)
        }

        @Test
        func `a narrow line is as narrow for four connections as for one`() throws {
            try bench.lab.setLink(bitsPerSecond: 16e6)
            for count in [1, 4] {
                let rate = try rate(of: count, bytes: (1 << 20) / count, roundTrip: 0)
                #expect(rate <= 16.1e6 && rate >= 13e6, "\(count): \(rate)")
            }
        }

        @Test
        func `a link without limits is fast`() throws {
            let answer = try bench.curl("/b/zeros-\(256 << 20)", "-o", "/dev/null")
            // Far below what it does alone: this is to notice a proxy that works byte by byte.
            #expect(256 / answer.seconds > 100, "\(answer.seconds)")
        }
    }
}
