import CryptoPrimitives
import Foundation
import HTTPTransport
import Storage
import Testing

@testable import S3Storage

@Suite("S3: values") struct S3ValueTests {
    @Test func `the schedule of parts reaches five tebibytes within ten thousand parts`() throws {
        let schedule = PartSchedule(firstByteCount: 8 << 20, limit: .max)
        #expect(schedule.reachByteCount == PartSchedule.maximumObjectByteCount)
        var sum: UInt64 = 0
        var last = 0
        for number in 1...PartSchedule.maximumPartCount {
            let count = try #require(schedule.byteCount(ofPart: number))
            #expect(count >= last && count >= PartSchedule.minimumPartByteCount)
            #expect(count <= PartSchedule.maximumPartByteCount)
            last = count
            sum += UInt64(count)
            if sum >= PartSchedule.maximumObjectByteCount {
                #expect(number == 9282)
                break
            }
        }
        #expect(schedule.byteCount(ofPart: 0) == nil)
        #expect(schedule.byteCount(ofPart: 10_001) == nil)
        #expect(schedule.byteCount(ofPart: 1) == 8 << 20)
        #expect(schedule.byteCount(ofPart: 1000) == 8 << 20)
        #expect(schedule.byteCount(ofPart: 1001) == 16 << 20)
    }

    @Test func `memory limits the size of a part and so the reach`() {
        let schedule = PartSchedule(firstByteCount: 8 << 20, limit: 32 << 20)
        #expect(schedule.byteCount(ofPart: 10_000) == 32 << 20)
        #expect(schedule.reachByteCount == 280_000 << 20 as UInt64)
        #expect(PartSchedule(firstByteCount: 1, limit: 1).byteCount(ofPart: 1) == PartSchedule.minimumPartByteCount)
    }

    @Test func `an endpoint is a scheme, a host and perhaps a port`() throws {
        let plain = try #require(S3Endpoint("http://127.0.0.1:9000/"))
        #expect(plain.authority(bucket: "b", .path) == "127.0.0.1:9000")
        #expect(plain.path(bucket: "b", key: "a/c d", .path) == "/b/a/c d")
        let wasabi = try #require(S3Endpoint("https://S3.eu-central-2.wasabisys.com:443"))
        #expect(wasabi.authority(bucket: "acme", .virtualHost) == "acme.s3.eu-central-2.wasabisys.com")
        #expect(wasabi.path(bucket: "acme", key: nil, .virtualHost) == "/")
        for text in [
            "", "host", "ftp://h", "https://", "https://h/path", "https://u:p@h", "https://h?x", "https://h#f",
        ] {
            #expect(S3Endpoint(text) == nil, "\(text)")
        }
    }

    @Test func `a listing goes on behind what it has named, or is refused`() throws {
        func page(token: String, key: String) -> [UInt8] {
            Array(
                """
                <ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>\(token)</NextContinuationToken>
                <Contents><Key>\(key)</Key><Size>1</Size></Contents></ListBucketResult>
                """.utf8)
        }
        func code(_ body: [UInt8], _ start: S3ListingPage.Start) -> StorageError.Code? {
            do throws(S3Failure) {
                _ = try S3ListingPage(parsing: body, prefix: "", from: start)
                return nil
            } catch {
                return error.code
            }
        }
        #expect(code(page(token: "b", key: "m"), .token(nil)) == nil)
        #expect(code(page(token: "b", key: "m"), .token("a")) == nil)
        #expect(code(page(token: "b", key: "m"), .token("b")) == .corrupt, "the same token again")
        #expect(code(page(token: "", key: "m"), .token(nil)) == .corrupt, "an empty token is the start again")
        #expect(code(page(token: "b", key: "m"), .key(nil)) == nil)
        #expect(code(page(token: "b", key: "m"), .key("l")) == nil)
        #expect(code(page(token: "b", key: "m"), .key("m")) == .corrupt, "the same key again")
        #expect(code(page(token: "b", key: "m"), .key("n")) == .corrupt, "a key before it")
    }

    @Test func `what a server says is one line of some length`() throws {
        let endpoint = try #require(S3Endpoint("http://127.0.0.1:9000"))
        let settings = S3Settings(name: "s3", endpoint: endpoint, bucket: "bucket", region: "region")
        let said =
            "<Error><Code>Odd</Code><Message>a\u{1b}[2J\nb\u{202e}\(String(repeating: "c", count: 9000))</Message></Error>"
        let message = S3Failure(HTTPResponse(status: 400, body: Array(said.utf8)), settings).storageError("x")
            .description
        #expect(message.utf8.count < 2000)
        #expect(message.contains("Odd: a [2J b ccc"))
        #expect(message.unicodeScalars.allSatisfy { ![.control, .format].contains($0.properties.generalCategory) })
    }

    @Test func `a redirect never leads to another provider`() throws {
        let endpoint = try #require(S3Endpoint("https://s3.amazonaws.com"))
        #expect(
            endpoint.redirected(to: "acme.s3.eu-west-3.amazonaws.com", bucket: "acme")?.host
                == "s3.eu-west-3.amazonaws.com")
        for other in ["s3.evil.com", "amazonaws.com.evil.org", "com", "", "s3.amazonaws.com/x", "s3@amazonaws.com"] {
            #expect(endpoint.redirected(to: other, bucket: "acme") == nil, "\(other)")
        }
    }

    @Test(arguments: [
        ("bytes 0-99/1234", 0, 100, 1234), ("bytes 7-7/8", 7, 8, 8), ("Bytes 5-9/10", 5, 10, 10),
    ]) func `a content range is read`(text: String, start: UInt64, end: UInt64, total: UInt64) throws {
        let range = try #require(ContentRange(text))
        #expect(range.range == start..<end && range.total == total)
    }

    @Test(arguments: [
        "", "bytes", "bytes */8", "bytes 9-8/10", "bytes 0-10/10", "bytes 0-99/*", "bytes 0-18446744073709551615/1",
        "octets 0-1/2", "bytes 0-1-2/3",
    ]) func `what is no content range is refused`(text: String) {
        #expect(ContentRange(text) == nil)
    }

    @Test func `dates are read as servers write them`() {
        #expect(HTTPDate.seconds("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777)
        #expect(HTTPDate.secondsOfISO("2026-11-20T02:00:00.123Z") == 1_795_140_000)
        #expect(HTTPDate.secondsOfISO("2026-11-20T02:00:00Z") == 1_795_140_000)
        #expect(HTTPDate.iso(1_795_140_000) == "2026-11-20T02:00:00Z")
        for text in ["", "Sun", "Sun, 06 Xxx 1994 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            #expect(HTTPDate.seconds(text) == nil)
        }
    }

    @Test func `entity tags of parts follow the rule of AWS`() {
        // Of two parts "a" and "b": MD5 of the two digests, by md5sum(1).
        let parts = [S3EntityTag.ofObject(Array("a".utf8)), S3EntityTag.ofObject(Array("b".utf8))]
        #expect(parts[0] == "0cc175b9c0f1b6a831c399e269772661")
        #expect(S3EntityTag.ofParts(parts) == "96e024ba2074fe77e8e965ba43a704be-2")
        #expect(S3EntityTag.ofParts(["x"]) == nil)
        #expect(S3EntityTag.trimmed("W/\"abc\"") == "abc")
    }

    @Test func `documents keep what is in a key`() throws {
        let key = try ObjectKey("a&b/<c>\"d\"/ü")
        let document = try #require(XMLTree(S3Documents.deletion([key])))
        #expect(document.first("Object")?["Key"] == key.string)
    }

    @Test func `a part that is a copy names its source encoded, and its answer is one only with an entity tag`() throws
    {
        let headers = S3Documents.copySource(try ObjectKey("a b/ü+c"), 5..<10, bucket: "bucket")
        #expect(headers.map(\.name) == ["x-amz-copy-source", "x-amz-copy-source-range"])
        #expect(headers.map(\.value) == ["/bucket/a%20b/%C3%BC%2Bc", "bytes=5-9"])
        func tag(_ text: String) -> String? { S3Documents.copiedPartTag(Array(text.utf8)) }
        #expect(tag("<CopyPartResult><ETag>\"0123\"</ETag></CopyPartResult>") == "0123")
        #expect(tag("  <CopyPartResult><ETag>0123</ETag><LastModified>x</LastModified></CopyPartResult>") == "0123")
        for text in [
            "", "<CopyPartResult/>", "<CopyPartResult><ETag/></CopyPartResult>", "<Error><ETag>1</ETag></Error>",
        ] {
            #expect(tag(text) == nil, "\(text)")
        }
    }

    @Test func `a document may have blanks before it, and nothing but a document is one`() {
        #expect(XMLTree(Array("\n \r\n<?xml version=\"1.0\"?><a><b>1</b><b>2</b></a>".utf8))?.all("b").count == 2)
        #expect(XMLTree(Array("<ns:a xmlns:ns=\"x\"><ns:b>1</ns:b></ns:a>".utf8))?["b"] == "1")
        for text in ["", "  ", "<a>", "<a></b>", "{}", String(repeating: "<a>", count: 100)] {
            #expect(XMLTree(Array(text.utf8)) == nil, "\(text)")
        }
        for text in [
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/hostname\">]><a>&x;</a>", "<a>&x;</a>", "<a>&#0;</a>",
            "<a>&#xd800;</a>", "<a/><b/>", "<a/>text", "<a b=1/>", "<a b='<'/>", "<1/>", "<a><![CDATA[x</a>",
            "<a>&amp</a>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>", "<a><!-- </a>",
        ] {
            #expect(XMLTree(Array(text.utf8)) == nil, "\(text)")
        }
        #expect(XMLTree(Array("<a>".utf8) + [0xff] + Array("</a>".utf8)) == nil)
    }

    @Test(arguments: [
        ("<a>&lt;&amp;&gt;&quot;&apos;&#233;&#x1F600;&#1;</a>", "<&>\"'é😀\u{1}"), ("<a>x<![CDATA[<&]]>y</a>", "x<&y"),
        ("<?xml version='1.0' encoding='utf-8'?><!-- c --><?p?><a b = \"'>\" c=''>\r\nx\ry<!-- - --></a >\n", "\nx\ny"),
        ("\u{feff}<é:a/>", ""),
    ]) func `text is what the document means`(document: String, text: String) throws {
        let tree = try #require(XMLTree(Array(document.utf8)))
        #expect(tree.text == text && tree.name == "a")
    }
}

@Suite("S3: credentials") struct S3CredentialsTests {
    private func secret(_ credentials: S3Credentials) -> String {
        credentials.secretKey.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    }

    private func file(_ text: String, mode: Int) throws -> String {
        let path = NSTemporaryDirectory() + "credentials-\(UUID())"
        try #require(
            FileManager.default.createFile(
                atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: mode]))
        return path
    }

    private static let text = """
        # of the AWS tools
        [default]
        aws_access_key_id = AK1
        aws_secret_access_key=s/1+=

        [ wasabi ]
        aws_access_key_id=AK2
        aws_secret_access_key = s2
        aws_session_token = t2
        """

    @Test func `a file has profiles, and the one that is asked for counts`() throws {
        let path = try file(Self.text, mode: 0o600)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var search = S3CredentialsSearch()
        search.filePath = path
        let first = try search.find { _ in nil }
        #expect(first.accessKey == "AK1" && secret(first) == "s/1+=" && first.sessionToken == nil)
        search.profile = "wasabi"
        let second = try search.find { _ in nil }
        #expect(second.accessKey == "AK2" && secret(second) == "s2" && second.sessionToken == "t2")
        search.profile = "nobody"
        #expect(throws: S3CredentialsError.self) { try search.find { _ in nil } }
        #expect(!"\(second)".contains("s2"))
    }

    @Test func `a file that others may read is refused, and the hint says what to do`() throws {
        for mode in [0o640, 0o604, 0o644] {
            let path = try file(Self.text, mode: mode)
            defer { try? FileManager.default.removeItem(atPath: path) }
            var search = S3CredentialsSearch()
            search.filePath = path
            let error = #expect(throws: S3CredentialsError.self) { try search.find { _ in nil } }
            #expect(error?.hint == "chmod 600 \(path)")
        }
    }

    @Test func `the environment comes before the shared file, and what is configured before both`() throws {
        let path = try file(Self.text, mode: 0o600)
        defer { try? FileManager.default.removeItem(atPath: path) }
        var environment = [
            "AWS_SHARED_CREDENTIALS_FILE": path, "AWS_ACCESS_KEY_ID": "AK3", "AWS_SECRET_ACCESS_KEY": "s3",
            "MY_KEY": "AK4", "MY_SECRET": "s4",
        ]
        var search = S3CredentialsSearch()
        #expect(try search.find { environment[$0] }.accessKey == "AK3")
        environment["AWS_ACCESS_KEY_ID"] = nil
        #expect(try search.find { environment[$0] }.accessKey == "AK1")
        environment["AWS_PROFILE"] = "wasabi"
        #expect(try search.find { environment[$0] }.accessKey == "AK2")
        search.accessKeyVariable = "MY_KEY"
        search.secretKeyVariable = "MY_SECRET"
        #expect(try search.find { environment[$0] }.accessKey == "AK4")
        environment["MY_SECRET"] = nil
        #expect(throws: S3CredentialsError.self) { try search.find { environment[$0] } }
        #expect(throws: S3CredentialsError.self) { try S3CredentialsSearch().find { _ in nil } }
    }
}

@Suite("S3: availability", .timeLimit(.minutes(1))) struct AvailabilityTests {
    @Test func `a store is away after some silences in a row, and there again after a probe`() {
        let availability = Availability()
        for _ in 0..<3 { #expect(!availability.noteSilence()) }
        availability.noteAnswer()
        for _ in 0..<3 { #expect(!availability.noteSilence()) }
        #expect(availability.noteSilence())
        #expect(!availability.noteSilence(), "probes are started once")
        #expect(!availability.report.isThere)
        availability.noteReturn()
        #expect(availability.report.isThere && availability.report.outages == 1)
    }

    @Test func `a request waits out a short outage and no longer than its patience`() {
        let availability = Availability()
        for _ in 0..<4 { _ = availability.noteSilence() }
        let start = ContinuousClock.now
        #expect(!availability.waitUntilThere(start: start, patience: .milliseconds(200), cancellation: nil))
        #expect(ContinuousClock.now - start < .seconds(5))
        Thread.detachNewThread {
            Thread.sleep(forTimeInterval: 0.2)
            availability.noteReturn()
        }
        #expect(availability.waitUntilThere(start: .now, patience: .seconds(30), cancellation: nil))
    }

    @Test func `who is cancelled waits no longer`() {
        let availability = Availability()
        for _ in 0..<4 { _ = availability.noteSilence() }
        let cancellation = HTTPCancellation()
        Thread.detachNewThread {
            Thread.sleep(forTimeInterval: 0.2)
            cancellation.cancel()
        }
        let start = ContinuousClock.now
        #expect(!availability.waitUntilThere(start: start, patience: .seconds(50), cancellation: cancellation))
        #expect(ContinuousClock.now - start < .seconds(5))
    }

    @Test func `repetitions are paced once the bucket of tokens is empty`() {
        let availability = Availability()
        let waits = (0..<200).map { _ in availability.takeToken() }
        #expect(waits.prefix(64).allSatisfy { $0 == .zero })
        #expect((waits.last ?? .zero) > .seconds(5))
    }
}
