import Foundation
import TestSupport
import Testing

extension Lab {
    @Suite("Faults of connections", .serialized, .timeLimit(.minutes(1)))
    struct ConnectionFaults {
        let bench: LabBench

        init() throws {
            bench = try LabBench()
            try bench.put("/b/a")
        }

        @Test
        func `a reset comes before the request was forwarded, or after it was carried out`() throws {
            try bench.lab.add(FaultRule(.resetBefore, on: .put, target: "never"))
            try bench.lab.add(FaultRule(.resetAfter, on: .put, target: "done"))
            #expect(try bench.put("/b/never").exit == 56)
            #expect(try bench.put("/b/done").exit == 56)
            #expect(try bench.curl("/b/never").status == 404)
            #expect(try bench.curl("/b/done").body == LabBench.sample)
        }

        @Test(arguments: [0, 1, 5_000])
        func `a reset comes within the body, behind just so many bytes`(count: Int) throws {
            try bench.lab.add(FaultRule(.resetBody(after: count), on: .get))
            let answer = try bench.curl("/b/a")
            #expect(answer.exit == 56 && answer.status == 200)
            #expect(answer.body == Array(LabBench.sample[..<count]))
        }

        @Test
        func `a body ends too early, told or untold`() throws {
            try bench.lab.add(FaultRule(.shortBody(after: 600), on: .get, count: 1))
            try bench.lab.add(FaultRule(.shortBody(after: 600, lie: true), on: .get, count: 1))
            let short = try bench.curl("/b/a")
            #expect(short.exit == 18 && short.body == Array(LabBench.sample[..<600]))
            let lie = try bench.curl("/b/a")
            #expect(lie.exit == 0 && lie.body == Array(LabBench.sample[..<600]))
            #expect(lie.values("content-length") == ["600"])
        }

        @Test
        func `a body stands still, and goes on if anybody waits`() throws {
            try bench.lab.add(FaultRule(.stallBody(after: 600, seconds: 0.5), on: .get))
            let given = try bench.curl("/b/a", seconds: 0.3)
            #expect(given.exit == 28 && given.body == Array(LabBench.sample[..<600]))
            let waited = try bench.curl("/b/a")
            #expect(waited.exit == 0 && waited.body == LabBench.sample && waited.seconds >= 0.5)
            try bench.lab.clearRules()
            try bench.lab.add(FaultRule(.stallBody(after: 600), on: .get))
            #expect(try bench.curl("/b/a", seconds: 0.3).exit == 28)
            #expect(try bench.eventually { $0.connectionsOpen == 0 }, "the client has gone")
        }

        @Test
        func `a request gets no answer, and leaves nothing open when the client has gone`() throws {
            try bench.lab.add(FaultRule(.stallRequest(), on: .get, .put))
            #expect(try bench.curl("/b/a", seconds: 0.3).exit == 28)
            #expect(try bench.put("/b/new", "--max-time", "0.3").exit == 28)
            #expect(try bench.eventually { $0.connectionsOpen == 0 && $0.requestsOpen == 0 })
            try bench.lab.clearRules()
            #expect(try bench.curl("/b/new").status == 404)
        }

        @Test
        func `an answer trickles`() throws {
            try bench.lab.add(FaultRule(.slow(bytesPerSecond: 1_000), on: .head))
            let answer = try bench.curl("/b/a", "-I")
            let size = answer.headers.joined(separator: "\r\n").utf8.count
            #expect(answer.exit == 0 && answer.seconds > Double(size) / 1_000 * 0.95)
        }

        @Test
        func `refused connections are refused at once, and the port comes back`() throws {
            try bench.lab.add(FaultRule(.stallBody(after: 600), on: .get))
            let reset = bench.beside { try $0.curl("/b/a") }
            #expect(try bench.eventually { $0.requestsOpen == 1 })
            try bench.lab.setNetwork(.refusing)
            #expect(try bench.curl("/b/a").exit == 7)
            #expect(try reset().exit == 56)
            #expect(try bench.eventually { $0.connectionsOpen == 0 })
            try bench.lab.clearRules()
            try bench.lab.setNetwork(.working)
            #expect(try bench.curl("/b/a").body == LabBench.sample)
        }

        @Test
        func `a request through a dead network is answered when it heals`() throws {
            try bench.lab.setNetwork(.dead)
            #expect(try bench.curl("/b/a", seconds: 0.3).exit == 28)
            let late = bench.beside { try $0.curl("/b/a") }
            usleep(1_500_000)
            try bench.lab.setNetwork(.working)
            let answer = try late()
            #expect(answer.exit == 0 && answer.body == LabBench.sample && answer.seconds > 0.4, "\(answer.seconds)")
        }

        @Test
        func `bodies in chunks, bodies that are announced and connections used again pass`() throws {
            let chunked = try bench.put("/b/chunked", "-H", "Transfer-Encoding: chunked", "-H", "Expect:")
            #expect(chunked.status == 200)
            #expect(try bench.put("/b/announced", "-H", "Expect: 100-continue").seconds < 0.9)
            #expect(try bench.curl("/b/chunked").body == LabBench.sample)
            #expect(try bench.curl("/b/announced").body == LabBench.sample)
            try bench.lab.resetCounters()
            _ = try bench.curl("/b/a", bench.lab.endpoint + "/b/chunked", "-o", "/dev/null")
            let counters = try bench.lab.counters()
            #expect(counters.requests(.get) == 2 && counters.connectionsAccepted == 1)
            #expect(counters.answerBodyBytes == 20_000)
        }

        @Test
        func `an error for an announced body does not wait for it`() throws {
            try bench.lab.add(FaultRule(.slowDown, on: .put))
            let answer = try bench.put("/b/new", "-H", "Expect: 100-continue")
            #expect(answer.status == 503 && answer.seconds < 0.9)
        }

        @Test
        func `a server that is not there is a reset`() throws {
            let lab = try LabProxy(to: "127.0.0.1:1")
            let answer = try LabBench.curl(lab.endpoint + "/b/a", [], bench.folder.path, seconds: 20)
            #expect(answer.exit == 56 && answer.status == 0)
        }
    }
}
