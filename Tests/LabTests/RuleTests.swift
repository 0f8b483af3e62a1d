import Foundation
import TestSupport
import Testing

extension Lab {
    @Suite("Rules", .serialized, .timeLimit(.minutes(1)))
    struct Rules {
        @Test
        func `operations are told apart`() throws {
            let bench = try LabBench()
            let requests: [(String, String, String)] = [
                ("GET", "/b/k/k", "get"), ("HEAD", "/b/k", "head"), ("PUT", "/b/k", "put"),
                ("DELETE", "/b/k", "delete"),
                ("POST", "/b/k?uploads", "create-upload"), ("POST", "/b/k?uploads=", "create-upload"),
                ("PUT", "/b/k?partNumber=2&uploadId=u", "upload-part"), ("POST", "/b/k?uploadId=u", "complete-upload"),
                ("DELETE", "/b/k?uploadId=u", "abort-upload"), ("GET", "/b/k?uploadId=u", "list-parts"),
                ("GET", "/b?list-type=2&prefix=uploads", "list"), ("GET", "/b/?prefix=x", "list"),
                ("GET", "/b?uploads", "list-uploads"), ("POST", "/b?delete", "delete-many"),
                ("PUT", "/b", "create-bucket"), ("HEAD", "/b", "head-bucket"), ("GET", "/", "list-buckets"),
                ("GET", "/b?location", "other"),
            ]
            for (method, path, _) in requests {
                _ = try bench.curl(path, "-X", method, method == "HEAD" ? "-I" : "-s")
            }
            #expect(try bench.lab.log() == requests.map { "\($0.0) \($0.1) [\($0.2)]" })
        }

        @Test
        func `a rule skips, counts, and looks at method and target`() throws {
            let bench = try LabBench()
            try bench.put("/b/a")
            try bench.put("/b/x")
            let rule = FaultRule(.internalError, method: "GET", target: "^/b/a$", skip: 2, count: 1)
            let number = try bench.lab.add(rule)
            #expect(try bench.curl("/b/x").status == 200)
            #expect(try (0..<5).map { _ in try bench.curl("/b/a").status } == [200, 200, 500, 200, 200])
            #expect(try bench.lab.counters().fired(number) == 1)
            #expect(try bench.lab.counters().answers == ["200": 7, "500": 1])
        }

        @Test
        func `the same seed spoils the same requests, another seed others`() throws {
            func spoiled(_ seed: UInt64) throws -> [Int] {
                let bench = try LabBench(seed: seed)
                try bench.lab.add(FaultRule(.slowDown, probability: 0.5))
                return try (0..<24).map { _ in try bench.curl("/b", "-I").status }
            }
            let first = try spoiled(7)
            #expect(first == (try spoiled(7)))
            #expect(first != (try spoiled(8)))
            #expect(Set(first).count == 2)
        }

        @Test
        func `what is no rule is refused and changes nothing`() throws {
            let process = try LineProcess([
                "python3", Repository.path("Tests/Lab/lab-proxy"), "--target", "127.0.0.1:1",
            ])
            _ = try process.greeting(seconds: 30)
            for line in [
                #"{"rule": {"action": {"fault": "fire"}}}"#, #"{"rule": {"action": {"fault": "slow", "after": 1}}}"#,
                #"{"rule": {"match": {"kinds": "get"}, "action": {"status": 500}}}"#, #"{"rule": {}}"#,
                #"{"set": {"rtt": 1}}"#, #"{"sit": true}"#, "nonsense",
            ] {
                let answer = try process.ask(line, seconds: 10)[0]
                #expect(answer.contains(#""ok": false"#), "\(line): \(answer)")
            }
        }
    }
}
