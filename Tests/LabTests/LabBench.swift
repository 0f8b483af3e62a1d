import Foundation
import Glibc
import TestSupport
import Testing
import Workers

/// A trivial object server with a lab before it, and curl as the client that is told everything.
final class LabBench: Sendable {
    /// What curl got, and how long it took.
    struct Answer {
        /// curl's exit status: 0 for a whole answer, 7 refused, 18 short, 28 timed out, 56 reset.
        let exit: Int32
        let status: Int
        /// The lines of the final head, without the status line.
        let headers: [String]
        let body: [UInt8]
        let seconds: Double

        var text: String { String(decoding: body, as: UTF8.self) }

        /// The values of a field, by its name in lower case.
        func values(_ name: String) -> [String] {
            headers.filter { $0.lowercased().hasPrefix(name + ":") }
                .map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
        }
    }

    /// What 10 000 bytes look like, no two neighbours equal, no period of a power of two.
    static let sample = (0..<10_000).map { UInt8($0 % 251) }

    /// One for all tests, for they run one at a time; each begins with it empty.
    private static let origin = Result {
        let process = try LineProcess(["python3", Repository.path("Tests/Lab/lab-origin")])
        let greeting = try process.greeting(seconds: 30)
        return (process, try JSONDecoder().decode([String: Int].self, from: Data(greeting.utf8))["port"] ?? 0)
    }

    let lab: LabProxy
    let folder: TemporaryFolder

    init(seed: UInt64 = 1) throws {
        let (origin, port) = try Self.origin.get()
        _ = try origin.ask("clear", seconds: 10)
        lab = try LabProxy(to: "127.0.0.1:\(port)", seed: seed)
        folder = try TemporaryFolder()
        try Data(Self.sample).write(to: URL(fileURLWithPath: folder.path + "/sample"))
    }

    /// Runs curl on a path of the lab; every call is a connection of its own. The first `-o` takes the body.
    func curl(_ path: String, _ arguments: String..., seconds: Double = 20) throws -> Answer {
        try Self.curl(lab.endpoint + path, arguments, folder.path, seconds: seconds)
    }

    /// Starts `work` on a thread of its own, for tests block those of Swift's pool; the function returned waits for the end.
    func beside(_ work: @escaping @Sendable (LabBench) throws -> Answer) -> () throws -> Answer {
        let result = Monitor<Result<Answer, any Error>?>(nil)
        NativeThread(name: "beside") {
            let answer = Result { try work(self) }
            result.withLock { $0 = answer }
        }.detach()
        return { try result.wait { $0 }.get() }
    }

    /// Puts the sample.
    @discardableResult
    func put(_ path: String, _ arguments: String...) throws -> Answer {
        try Self.curl(lab.endpoint + path, ["-T", folder.path + "/sample"] + arguments, folder.path, seconds: 20)
    }

    static func curl(_ url: String, _ arguments: [String], _ folder: String, seconds: Double) throws -> Answer {
        let name = folder + "/" + UUID().uuidString
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["curl", "-s", "--max-time", String(seconds), "-D", name + ".head"]
            + ["-w", "%{http_code} %{time_total}"] + arguments + ["-o", name + ".body", url]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let written = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        let words = written.split(separator: " ")
        let head = (try? String(contentsOfFile: name + ".head", encoding: .isoLatin1)) ?? ""
        let last = head.components(separatedBy: "\r\n\r\n").last { !$0.isEmpty } ?? ""
        return Answer(
            exit: process.terminationStatus, status: Int(words[0]) ?? 0,
            headers: Array(last.components(separatedBy: "\r\n").dropFirst()),
            body: (try? [UInt8](Data(contentsOf: URL(fileURLWithPath: name + ".body")))) ?? [],
            seconds: Double(words[1]) ?? 0)
    }

    /// Waits until the lab's counters say so, at most for five seconds.
    func eventually(_ holds: (LabProxy.Counters) -> Bool) throws -> Bool {
        for _ in 0..<100 {
            if holds(try lab.counters()) { return true }
            usleep(50_000)
        }
        return false
    }
}

/// All that the lab is tested with; one at a time, for the tests measure time.
@Suite("Fault and latency lab", .serialized)
enum Lab {}
