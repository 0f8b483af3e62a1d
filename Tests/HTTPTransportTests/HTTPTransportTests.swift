import Foundation
import HTTPTransport
import Synchronization
import Testing
import Workers

@Suite("HTTP transport", .timeLimit(.minutes(1)))
struct HTTPTransportTests {
    private static func settings(_ change: (inout HTTPTransport.Settings) -> Void = { _ in }) -> HTTPTransport.Settings
    {
        var settings = HTTPTransport.Settings()
        settings.connectMilliseconds = 500
        settings.stallSeconds = 1
        change(&settings)
        return settings
    }

    private func code(_ body: () throws -> Void) -> HTTPFailure.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? HTTPFailure)?.code
        }
    }

    @Test func `method, path, headers and body are sent as they are`() throws {
        let seen = Mutex<[(head: String, body: [UInt8])]>([])
        let server = try ScriptedServer { peer in
            seen.withLock { $0.append((peer.head, peer.body)) }
            peer.send("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n\r\n")
            return true
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings())
        defer { transport.close() }
        let body = [UInt8](repeating: 7, count: 3_000_000)
        for method in HTTPRequest.Method.allCases {
            let request = HTTPRequest(
                method, server.url + "/a/../b%20c//d?x=%2F", headers: [("x-amz-empty", ""), ("X-Note", "ü")])
            let response = try body.withUnsafeBytes {
                try transport.perform(request, body: method == .put || method == .post ? $0 : nil)
            }
            #expect(response.status == 200)
            #expect(response.header("etag") == "\"x\"")
        }
        for (exchange, method) in zip(seen.withLock { $0 }, HTTPRequest.Method.allCases) {
            let lines = exchange.head.components(separatedBy: "\r\n")
            #expect(lines[0] == "\(method.rawValue) /a/../b%20c//d?x=%2F HTTP/1.1")
            #expect(lines.contains("x-amz-empty:") && lines.contains("X-Note: ü"))
            #expect(
                !lines.contains { $0.lowercased().hasPrefix("expect") || $0.lowercased().hasPrefix("content-type") })
            #expect(exchange.body == (method == .put || method == .post ? body : []))
        }
        #expect(server.connectionCount == 1, "connections are kept")
    }

    @Test(arguments: [HTTPRequest.Method.get, .put, .post], [true, false])
    func `what is sent once is not sent again when a kept connection ends without an answer`(
        method: HTTPRequest.Method, isSentOnce: Bool
    ) throws {
        let paths = Mutex<[String]>([])
        let server = try ScriptedServer { peer in
            let isFirstSpoiled = paths.withLock { paths in
                paths.append(String(peer.head.split(separator: " ")[1]))
                return paths.last == "/spoiled" && paths.count { $0 == "/spoiled" } == 1
            }
            if isFirstSpoiled {
                peer.resetsOnClose()
                return false
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return true
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings())
        defer { transport.close() }
        _ = try transport.perform(HTTPRequest(.get, server.url + "/first"))
        var request = HTTPRequest(method, server.url + "/spoiled")
        request.isSentOnce = isSentOnce
        let body = [UInt8](repeating: 1, count: 1000)
        let failure = code { _ = try body.withUnsafeBytes { try transport.perform(request, body: $0) } }
        #expect(failure == (isSentOnce ? .interrupted : nil))
        #expect(paths.withLock { $0.count { $0 == "/spoiled" } } == (isSentOnce ? 1 : 2))
    }

    @Test func `a body goes into the buffer of a success only`() throws {
        let server = try ScriptedServer { peer in
            let status = peer.head.contains("/good") ? "206 Partial Content" : "404 Not Found"
            peer.send(
                "HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 \(status)\r\nContent-Length: 5\r\n\r\nhello")
            return true
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings())
        defer { transport.close() }
        var buffer = [UInt8](repeating: 0, count: 8)
        let good = try buffer.withUnsafeMutableBytes {
            try transport.perform(HTTPRequest(.get, server.url + "/good"), into: $0)
        }
        #expect(good.status == 206 && good.bufferedByteCount == 5 && good.body.isEmpty)
        #expect(good.header("x-interim") == nil)
        #expect(buffer == Array("hello".utf8) + [0, 0, 0])
        buffer = [UInt8](repeating: 0, count: 8)
        let bad = try buffer.withUnsafeMutableBytes {
            try transport.perform(HTTPRequest(.get, server.url + "/bad"), into: $0)
        }
        #expect(bad.status == 404 && bad.bufferedByteCount == 0 && bad.body == Array("hello".utf8))
        #expect(buffer == [UInt8](repeating: 0, count: 8))
        var small = [UInt8](repeating: 0, count: 4)
        #expect(
            code {
                _ = try small.withUnsafeMutableBytes {
                    try transport.perform(HTTPRequest(.get, server.url + "/good"), into: $0)
                }
            } == .tooLong)
        #expect(code { _ = try transport.perform(HTTPRequest(.get, server.url + "/good"), limit: 4) } == .tooLong)
    }

    @Test func `a broken, short, silent or endless answer is a failure of its own kind, in bounded time`() throws {
        let server = try ScriptedServer { peer in
            switch peer.head.split(separator: " ")[1] {
            case "/closed": break
            case "/reset":
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
                peer.resetsOnClose()
            case "/short": peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            case "/silent": sleep(4)
            case "/stalls":
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
                sleep(4)
            case "/headers":
                peer.send("HTTP/1.1 200 OK\r\n")
                for index in 0..<2000 { peer.send("X-\(index): \(String(repeating: "y", count: 60))\r\n") }
                peer.send("Content-Length: 0\r\n\r\n")
            default: peer.send("nonsense\r\n\r\n")
            }
            return false
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings())
        defer { transport.close() }
        let expected: [(String, HTTPFailure.Code)] = [
            ("/closed", .interrupted), ("/reset", .interrupted), ("/short", .interrupted), ("/silent", .stalled),
            ("/stalls", .stalled), ("/headers", .tooLong), ("/nonsense", .interrupted),
        ]
        for (path, expectedCode) in expected {
            let start = ContinuousClock.now
            #expect(code { _ = try transport.perform(HTTPRequest(.get, server.url + path)) } == expectedCode, "\(path)")
            #expect(ContinuousClock.now - start < .seconds(3.5), "\(path)")
        }
        // A server that is gone, and one that does not answer at all.
        server.stop()
        #expect(code { _ = try transport.perform(HTTPRequest(.get, server.url)) } == .unreachable)
        #expect(code { _ = try transport.perform(HTTPRequest(.get, "http://name.invalid/")) } == .unreachable)
        #expect(code { _ = try transport.perform(HTTPRequest(.get, "file:///etc/passwd")) } == .invalidRequest)
        #expect(
            code { _ = try transport.perform(HTTPRequest(.get, server.url, headers: [("X", "a\r\nY: b")])) }
                == .invalidRequest)
    }

    @Test func `many callers share the connections and get their own answers`() throws {
        let server = try ScriptedServer { peer in
            let path = String(peer.head.split(separator: " ")[1])
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(path.utf8.count)\r\n\r\n\(path)")
            return true
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings { $0.connectionLimit = 8 })
        defer { transport.close() }
        let wrong = Mutex(0)
        let threads = (0..<32).map { caller in
            NativeThread(name: "caller") {
                for index in 0..<50 {
                    let path = "/\(caller)/\(index)"
                    let response = try? transport.perform(HTTPRequest(.get, server.url + path))
                    if response?.body != Array(path.utf8) { wrong.withLock { $0 += 1 } }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(wrong.withLock { $0 } == 0)
        #expect(server.connectionCount <= 8)
    }

    @Test func `cancelling and closing free a caller at once`() throws {
        let server = try ScriptedServer { _ in
            sleep(10)
            return false
        }
        defer { server.stop() }
        let transport = HTTPTransport(Self.settings { $0.stallSeconds = 30 })
        let cancellation = HTTPCancellation()
        let start = ContinuousClock.now
        let canceller = NativeThread(name: "canceller") {
            usleep(200_000)
            cancellation.cancel()
        }
        #expect(
            code { _ = try transport.perform(HTTPRequest(.get, server.url), cancellation: cancellation) } == .cancelled)
        canceller.join()
        // One that was cancelled before it began does not begin.
        #expect(
            code { _ = try transport.perform(HTTPRequest(.get, server.url), cancellation: cancellation) } == .cancelled)
        let closer = NativeThread(name: "closer") {
            usleep(200_000)
            transport.close()
        }
        #expect(code { _ = try transport.perform(HTTPRequest(.get, server.url)) } == .cancelled)
        closer.join()
        #expect(code { _ = try transport.perform(HTTPRequest(.get, server.url)) } == .cancelled)
        #expect(ContinuousClock.now - start < .seconds(3))
    }
}
