import BackupEngine
import Foundation
import Glibc
import TestSupport
import Testing

@testable import BlockSources

@Suite("Network block devices", .serialized, .timeLimit(.minutes(2)))
struct NBDSourceTests {
    private func open(
        _ server: BlockServer, patience: Duration = .seconds(10), connections: Int = 1, request: Int = 256 << 10
    ) throws -> NBDSource {
        try NBDSource.open(
            uri: server.uri(), consistency: "none", consistentAt: nil, patience: patience,
            connectionCount: connections, requestByteCount: request)
    }

    private func read(_ source: NBDSource, frameByteCount: Int = 1 << 20) throws -> CollectingSink {
        let sink = CollectingSink(frameByteCount: frameByteCount)
        var last: UInt64 = 0
        try source.stream(to: sink) { done, total in
            #expect(done > last && total == source.byteCount)
            last = done
        }
        #expect(last == source.byteCount)
        return sink
    }

    @Test(arguments: [1, 511, 512, 513, 1 << 20, (1 << 20) + 1, 7_654_321, (9 << 20) - 1])
    func `an image of any size comes whole and in order`(byteCount: Int) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/a.raw", byteCount: byteCount, pieces: 6, seed: seed)
        let server = try BlockServer.nbdkit("file", image.path)
        for (frame, request, connections) in [(1 << 20, 256 << 10, 1), (64 << 10, 1 << 20, 4), (1 << 20, 4096, 2)] {
            let sink = try read(
                open(server, connections: connections, request: request), frameByteCount: frame)
            #expect(sink.bytes == image.bytes, "seed \(seed), frames of \(frame), requests of \(request)")
        }
    }

    @Test(arguments: ["--filter=noextents", "--no-sr", "--filter=fua"])
    func `a server that tells no extents is read as a whole`(option: String) throws {
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 5_000_001, pieces: 2, seed: 7)
        let server = try BlockServer.nbdkit(option, "file", image.path)
        let sink = try read(open(server))
        #expect(sink.bytes == image.bytes)
        #expect((sink.zeroFrames == 0) == (option != "--filter=fua"), "\(sink.zeroFrames)")
    }

    @Test func `no request touches a hole, but one for the last sector`() throws {
        let folder = try TemporaryFolder()
        let byteCount = 3 << 30
        let image = folder.path + "/a.raw"
        try shell("truncate -s \(byteCount) \(image)")
        let places = [5 << 20, (5 << 20) + (512 << 10), 1 << 30, (2 << 30) + (192 << 10)]
        for place in places {
            try shell(
                "head -c 65536 /dev/urandom | dd of=\(image) bs=65536 seek=\(place / 65536) conv=notrunc status=none")
        }
        let server = try BlockServer.nbdkit("--filter=log", "file", image, "logfile=\(folder.path)/log")
        let sink = CountingSink()
        try open(server).stream(to: sink) { _, _ in }
        #expect(sink.byteCount == byteCount && sink.dataFrames == places.count - 1)
        let log = try String(contentsOfFile: folder.path + "/log", encoding: .utf8)
        let reads = log.split(separator: "\n").filter { $0.contains(" Read ") && $0.contains("count=") }
        let offsets = reads.map { line in
            line.split(separator: " ").first { $0.hasPrefix("offset=") }.flatMap { Int($0.dropFirst(9), radix: 16) }
        }
        #expect(Set(offsets) == Set(places + [byteCount - 512]) && reads.count == places.count + 1, "\(log)")
    }

    @Test func `requests are under way together`() throws {
        let server = try BlockServer.nbdkit("--filter=delay", "random", "size=16M", "rdelay=20ms")
        let source = try open(server)
        let start = ContinuousClock.now
        let sink = try read(source)
        // One after the other: 1.28 s.
        #expect(sink.bytes.count == 16 << 20 && ContinuousClock.now - start < .milliseconds(500))
    }

    @Test func `a slow sink is waited for, however short the patience`() throws {
        let server = try BlockServer.nbdkit("random", "size=12M")
        let sink = CollectingSink()
        sink.delay = 150
        try open(server, patience: .milliseconds(100)).stream(to: sink) { _, _ in }
        #expect(sink.bytes.count == 12 << 20)
    }

    @Test func `an error is named by its offset`() throws {
        let folder = try TemporaryFolder()
        // Reads of the third MiB fail.
        let server = try BlockServer.nbdkit(
            "sh", try script(folder, read: "[ $4 -eq 2097152 ] && { echo 'EIO the disk is broken' >&2; exit 1; }"))
        let error = #expect(throws: EngineError.self) { try open(server).stream(to: CollectingSink()) { _, _ in } }
        #expect(error?.code == .source && error?.detail.contains("cannot be read at 2097152: ") == true, "\(error!)")
    }

    @Test func `a server that is killed, and one that stops, is named with the offset`() throws {
        let folder = try TemporaryFolder()
        for signal in [SIGKILL, SIGSTOP] {
            let server = try BlockServer.nbdkit(
                "sh", try script(folder, read: "[ $4 -ge 10485760 ] && kill -\(signal) $PPID && sleep 1"))
            let source = try open(server, patience: .milliseconds(700))
            let start = ContinuousClock.now
            let error = #expect(throws: EngineError.self) { try source.stream(to: CollectingSink()) { _, _ in } }
            #expect(error?.code == .source && error?.detail.contains("cannot be read at ") == true, "\(error!)")
            let took = ContinuousClock.now - start
            #expect(signal == SIGKILL || took >= .milliseconds(700) && took < .seconds(5), "\(took)")
            #expect((signal == SIGSTOP) == error?.detail.contains("sent nothing for"), "\(error!)")
        }
    }

    @Test func `a file that becomes shorter under the server fails, in data and in a hole`() throws {
        let folder = try TemporaryFolder()
        for isSparse in [true, false] {
            let image = folder.path + "/a.raw"
            try shell(
                isSparse
                    ? "rm -f \(image); head -c 1M /dev/urandom >\(image); truncate -s 64M \(image)"
                    : "head -c 64M /dev/urandom >\(image)")
            let server = try BlockServer.nbdkit("file", image)
            let source = try open(server)
            try shell("truncate -s 2M \(image)")
            let error = #expect(throws: EngineError.self) { try source.stream(to: CollectingSink()) { _, _ in } }
            #expect(error?.detail.contains("cannot be read at ") == true, "sparse: \(isSparse)")
        }
    }

    @Test func `what does not answer is said before any work`() throws {
        let folder = try TemporaryFolder()
        func failure(_ uri: String) -> String {
            do {
                _ = try NBDSource.open(uri: uri, patience: .milliseconds(300))
                return "opened"
            } catch {
                return "\(error)"
            }
        }
        #expect(failure("nbd+unix:///?socket=\(folder.path)/absent").contains("No such file or directory"))
        try shell("touch \(folder.path)/file")
        #expect(failure("nbd+unix:///?socket=\(folder.path)/file").contains("Connection refused"))
        #expect(failure("nbd://127.0.0.1:1/").contains("Connection refused"))
        #expect(failure("http://127.0.0.1/").contains("is not the URI"))
        let server = try BlockServer.nbdkit(
            "--filter=exportname", "null", "size=1M", "exportname=a", "exportname-strict=true")
        #expect(
            failure(server.uri("b")).contains("\"b\"") || failure(server.uri("b")).contains("export"),
            "\(failure(server.uri("b")))")
        #expect(failure(server.uri("a")) == "opened")
        server.signal(SIGSTOP)
        #expect(failure(server.uri("a")).contains("did not answer for"))
        #expect(failure("nbds+unix:///a?socket=\(folder.path)/file") != "opened")
    }

    /// A plugin whose exports are 64 MiB of data, read one request at a time, with a line of shell before each read ($4: the offset).
    private func script(_ folder: TemporaryFolder, read: String) throws -> String {
        let path = folder.path + "/plugin"
        try """
        #!/bin/sh
        case $1 in
        get_size) echo 67108864 ;;
        pread) \(read)
            head -c $3 /dev/zero | tr '\\0' x ;;
        thread_model) echo serialize_requests ;;
        *) exit 2 ;;
        esac
        """.write(toFile: path, atomically: true, encoding: .utf8)
        chmod(path, 0o755)
        return path
    }
}
