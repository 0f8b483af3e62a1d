import Foundation
import TestSupport
import Testing

extension Lab {
    @Suite("Faults in answers", .serialized, .timeLimit(.minutes(1)))
    struct AnswerFaults {
        let bench: LabBench

        init() throws {
            bench = try LabBench()
            try bench.put("/b/a")
        }

        @Test
        func `without a rule everything passes unchanged`() throws {
            let answer = try bench.curl("/b/a")
            #expect(answer.exit == 0 && answer.status == 200 && answer.body == LabBench.sample)
            #expect(try bench.curl("/b/a", "-r", "10-19").body == Array(LabBench.sample[10..<20]))
            #expect(try bench.curl("/b/a", "-I").values("content-length") == ["10000"])
            #expect(try bench.curl("/b/a", "-X", "DELETE").status == 204)
            #expect(try bench.curl("/b/a").status == 404)
        }

        @Test
        func `an S3 error takes the place of the answer, and the server is not asked`() throws {
            let rule = try bench.lab.add(FaultRule(.status(503, code: "SlowDown", retryAfter: 7), on: .put, count: 1))
            let refused = try bench.put("/b/new")
            #expect(refused.status == 503 && refused.text.contains("<Code>SlowDown</Code>"))
            #expect(refused.values("retry-after") == ["7"])
            #expect(try bench.curl("/b/new").status == 404)
            #expect(try bench.put("/b/new").status == 200)
            #expect(try bench.lab.counters().fired(rule) == 1)
        }

        @Test
        func `an error may follow a request that was carried out`() throws {
            try bench.lab.add(FaultRule(.status(500, forward: true), on: .put))
            #expect(try bench.put("/b/new").status == 500)
            #expect(try bench.curl("/b/new").body == LabBench.sample)
        }

        @Test
        func `a wrong clock, another region and a lost upload are told as S3 tells them`() throws {
            try bench.lab.add(FaultRule(.clockSkew(hours: 5), on: .get))
            try bench.lab.add(FaultRule(.otherRegion("eu-south-1"), on: .head))
            try bench.lab.add(FaultRule(.lostUpload, on: .uploadPart))
            let skewed = try bench.curl("/b/a")
            let format = DateFormatter()
            format.locale = Locale(identifier: "en_US_POSIX")
            format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
            let date = try #require(format.date(from: skewed.values("date").first ?? ""))
            #expect(skewed.status == 403 && skewed.text.contains("RequestTimeTooSkewed"))
            #expect(abs(date.timeIntervalSinceNow - 5 * 3600) < 60)
            #expect(try bench.curl("/b/a", "-I").values("x-amz-bucket-region") == ["eu-south-1"])
            let lost = try bench.put("/b/a?partNumber=1&uploadId=u1")
            #expect(lost.status == 404 && lost.text.contains("NoSuchUpload"))
        }

        @Test(arguments: [0, 3])
        func `an error comes inside a 200`(spaces: Int) throws {
            try bench.lab.add(FaultRule(.errorIn200(spaces: spaces), on: .completeUpload))
            let answer = try bench.curl("/b/done?uploadId=u1", "-d", "<CompleteMultipartUpload/>")
            #expect(answer.exit == 0 && answer.status == 200)
            #expect(answer.text.contains(String(repeating: " ", count: spaces) + "<Error><Code>InternalError</Code>"))
            #expect(answer.seconds >= Double(spaces) * 0.1)
            #expect(try bench.curl("/b/done").status == 404)
        }

        @Test
        func `a listing is as old as the one before`() throws {
            let lab = bench.lab
            #expect(try bench.curl("/b?list-type=2").text.contains("/b/a<"))
            try lab.add(FaultRule(.staleList, on: .list))
            try bench.put("/b/second")
            #expect(try !bench.curl("/b?list-type=2").text.contains("/b/second"))
            #expect(try bench.curl("/b?list-type=2").text.contains("/b/second"))
        }

        @Test(arguments: [0, 4_000, 9_999, 14_000])
        func `one bit of the answer is wrong`(offset: Int) throws {
            try bench.lab.add(FaultRule(.flipBit(at: offset), on: .get))
            var expected = LabBench.sample
            expected[offset % 10_000] ^= 1
            #expect(try bench.curl("/b/a").body == expected)
        }

        @Test
        func `one bit of the request is wrong when it arrives`() throws {
            try bench.lab.add(FaultRule(.flipRequestBit(at: 5_000), on: .put))
            try bench.put("/b/a")
            var expected = LabBench.sample
            expected[5_000] ^= 1
            #expect(try bench.curl("/b/a").body == expected)
        }

        @Test
        func `the range is ignored, moved, or claimed to be another`() throws {
            func ranged(_ fault: Fault) throws -> LabBench.Answer {
                try bench.lab.clearRules()
                try bench.lab.add(FaultRule(fault, on: .get))
                return try bench.curl("/b/a", "-r", "100-199")
            }
            let ignored = try ranged(.ignoreRange)
            #expect(ignored.status == 200 && ignored.body == LabBench.sample)
            let claimed = try ranged(.wrongRange(.claim, by: 8))
            #expect(claimed.values("content-range") == ["bytes 108-207/10000"])
            #expect(claimed.body == Array(LabBench.sample[100..<200]))
            let moved = try ranged(.wrongRange(.bytesAndClaim, by: 8))
            #expect(moved.values("content-range") == ["bytes 108-207/10000"])
            #expect(moved.body == Array(LabBench.sample[108..<208]))
            let secretly = try ranged(.wrongRange(.bytes, by: 8))
            #expect(secretly.values("content-range") == ["bytes 100-199/10000"])
            #expect(secretly.body == Array(LabBench.sample[108..<208]))
        }

        @Test
        func `fields come twice or in another order`() throws {
            let plain = try bench.curl("/b/a").headers.filter { !$0.hasPrefix("Date") }
            try bench.lab.add(FaultRule(.duplicateHeaders(), on: .get, count: 1))
            try bench.lab.add(FaultRule(.duplicateHeaders(["Content-Length"]), on: .get, count: 1))
            let twice = try bench.curl("/b/a")
            #expect(twice.values("etag").count == 2 && twice.values("content-length").count == 1)
            let lengths = try bench.curl("/b/a")
            #expect(lengths.values("content-length") == ["10000", "10000"] && lengths.values("etag").count == 1)
            try bench.lab.add(FaultRule(.reorderHeaders, on: .get))
            let orders = try Set((0..<4).map { _ in try bench.curl("/b/a").headers.filter { !$0.hasPrefix("Date") } })
            #expect(orders.count > 1 && orders.allSatisfy { $0.sorted() == plain.sorted() })
        }

        @Test
        func `the ETag is another, also in the document of a completed upload`() throws {
            try bench.lab.add(FaultRule(.wrongETag))
            #expect(try bench.curl("/b/a").values("etag") == [#""00000000000000000000000000000bad""#])
            let completed = try bench.curl("/b/done?uploadId=u1", "-d", "<CompleteMultipartUpload/>")
            #expect(completed.text.contains("<ETag>\"00000000000000000000000000000bad\"</ETag>"))
        }
    }
}
