import Foundation
import Testing

@testable import ReadTrace

@Suite("Traces of what is read", .timeLimit(.minutes(1)))
struct ReadTraceTests {
    private let folder = NSTemporaryDirectory() + "holdfast-trace-\(UUID().uuidString.prefix(8))"
    private var path: String { folder + "/boot.trace" }
    private let image = "s3/acme/web/2026-11-20T10:00:00Z/disk.raw"

    init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }

    private func frames(_ indexes: Range<Int>) -> [(index: Int, range: Range<UInt64>)] {
        indexes.map { ($0, UInt64($0) << 20..<UInt64($0 + 1) << 20) }
    }

    private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    @Test func `each frame is written once, in the order of the first touch, neighbours of a read in one part`() throws
    {
        let recorder = try TraceRecorder(path: path)
        recorder.note(image, frames(5..<7))
        recorder.note(image, frames(0..<1))
        recorder.note("other/a/b/c/d.raw", frames(0..<1))
        recorder.note(image, frames(4..<9))
        recorder.note(image, frames(100_000..<100_001))
        #expect(!exists(path) && exists(path + ".partial"))
        try recorder.close()
        #expect(exists(path) && !exists(path + ".partial"))
        let mib: UInt64 = 1 << 20
        let trace = try ReadTrace(path: path)
        #expect(
            trace.parts == [
                .init(image: image, range: 5 * mib..<7 * mib), .init(image: image, range: 0..<mib),
                .init(image: "other/a/b/c/d.raw", range: 0..<mib), .init(image: image, range: 4 * mib..<5 * mib),
                .init(image: image, range: 7 * mib..<9 * mib),
                .init(image: image, range: 100_000 * mib..<100_001 * mib),
            ])
        #expect(trace.images == [image, "other/a/b/c/d.raw"])
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
    }

    @Test func `a session that reads nothing leaves the trace of before`() throws {
        try "kept".write(toFile: path, atomically: true, encoding: .utf8)
        try TraceRecorder(path: path).close()
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "kept")
        #expect(!exists(path + ".partial"))
    }

    @Test func `the end of a recording waits for the file, not for a time`() throws {
        let start = ContinuousClock.now
        for index in 0..<8 {
            let recorder = try TraceRecorder(path: path)
            recorder.note(image, frames(index..<index + 1))
            try recorder.close()
        }
        #expect(.now - start < .seconds(8), "two seconds each is what it waits for a file that hangs")
    }

    @Test func `a trace that cannot be written is an error, at the start or at the end`() throws {
        #expect(throws: ReadTraceError.self) { try TraceRecorder(path: folder + "/absent/boot.trace") }
        // A disk that is full from the first write on.
        try FileManager.default.createSymbolicLink(atPath: path + ".partial", withDestinationPath: "/dev/full")
        #expect(throws: ReadTraceError.self) { try TraceRecorder(path: path) }
        try FileManager.default.removeItem(atPath: path + ".partial")
        let recorder = try TraceRecorder(path: path)
        recorder.note(image, frames(0..<1))
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        #expect(throws: ReadTraceError.self) { try recorder.close() }
    }

    @Test func `what many threads touch at once is all there, once`() throws {
        let recorder = try TraceRecorder(path: path)
        let (frames, image) = (frames(0..<1000), image)
        DispatchQueue.concurrentPerform(iterations: 8) { thread in
            for index in 0..<1000 { recorder.note(image, [frames[(index * 7 + thread * 131) % 1000]]) }
        }
        try recorder.close()
        let offsets = try ReadTrace(path: path).parts.map(\.range.lowerBound)
        #expect(offsets.sorted() == frames.map(\.range.lowerBound))
    }

    @Test(arguments: [
        "", "holdfast trace 2\n", "0 1 a/b\n", "holdfast trace 1\n0 1\n",
        "holdfast trace 1\n0 0 a\n",
        "holdfast trace 1\n-1 1 a\n", "holdfast trace 1\n0 4294967296 a\n",
        "holdfast trace 1\n18446744073709551615 1 a\n",
        "holdfast trace 1\n0 1 /etc/passwd\n", "holdfast trace 1\n0 1 a/../../b\n", "holdfast trace 1\n0 1 a//b\n",
    ])
    func `what is no trace is refused`(text: String) {
        #expect(throws: ReadTraceError.self) { try ReadTrace(parsing: text) }
    }

    @Test func `comments, empty lines and a cut last line are passed over`() throws {
        let trace = try ReadTrace(parsing: "holdfast trace 1\n# cut by hand\n\n512 10 a/b c.raw\n1024 1")
        #expect(trace.parts == [.init(image: "a/b c.raw", range: 512..<522)])
    }

    @Test(arguments: [1, 7, 64])
    func `a warm-up reads every part, and says what is behind the end`(threadCount: Int) throws {
        let file = folder + "/disk"
        try Data(count: 3_000_000).write(to: URL(fileURLWithPath: file))
        var parts = (0..<20).map {
            ReadTrace.Part(image: "a", range: UInt64($0) * 100_000..<UInt64($0) * 100_000 + 1000)
        }
        parts.append(.init(image: "a", range: 0..<2_500_000))
        parts.append(.init(image: "a", range: 2_999_000..<3_001_000))
        parts.append(.init(image: "a", range: 5_000_000..<5_001_000))
        let result = try WarmUp(ReadTrace(parts: parts)) { _ in file }.run(threadCount: threadCount)
        #expect(result == WarmUp.Result(partCount: 23, byteCount: 20_000 + 2_500_000 + 1000, absentCount: 1))
        #expect(throws: ReadTraceError.self) { try WarmUp(ReadTrace(parts: parts)) { _ in file + "2" }.run() }
        #expect(try WarmUp(ReadTrace()) { _ in file }.run() == WarmUp.Result())
    }
}
