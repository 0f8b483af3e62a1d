import Foundation
import Glibc
import TestSupport

/// A real server of network block devices, with a socket in a folder of its own. It ends with this object, and with this process.
final class BlockServer: Sendable {
    let folder: TemporaryFolder
    let processIdentifier: Int32
    private let line: LineProcess

    var socket: String { folder.path + "/socket" }
    var output: String { (try? String(contentsOfFile: folder.path + "/output", encoding: .utf8)) ?? "" }
    func uri(_ export: String = "") -> String { "nbd+unix:///\(export)?socket=\(socket)" }

    /// Starts a program; `SOCKET` in its arguments stands for the path it is to listen at.
    init(_ arguments: [String], in folder: TemporaryFolder? = nil) throws {
        let folder = try folder ?? TemporaryFolder()
        self.folder = folder
        // The shell holds the other end of our socket: at its end, also by our death, the server goes.
        let script = """
            output=$1; shift
            "$@" >"$output" 2>&1 </dev/null & server=$!
            echo $server
            cat >/dev/null; kill -KILL $server; wait
            """
        let words = arguments.map { $0.replacingOccurrences(of: "SOCKET", with: folder.path + "/socket") }
        line = try LineProcess(["/bin/sh", "-c", script, "sh", folder.path + "/output"] + words)
        guard let process = Int32(try line.greeting(seconds: 10)) else { throw BlockServerError("no process") }
        processIdentifier = process
        for _ in 0..<1000 where access(socket, F_OK) != 0 { usleep(10_000) }
        guard access(socket, F_OK) == 0 else { throw BlockServerError("no server: \(output)") }
    }

    static func nbdkit(_ arguments: String..., in folder: TemporaryFolder? = nil) throws -> BlockServer {
        try BlockServer(["nbdkit", "-f", "-r", "-U", "SOCKET"] + arguments, in: folder)
    }

    func signal(_ number: Int32) { kill(processIdentifier, number) }
    func end() { line.end() }
}

/// Runs a shell line to its end; throws what it printed if it fails.
@discardableResult
func shell(_ line: String, environment: [String: String] = [:]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", line]
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    // A file, not a pipe: what goes on in the background must not keep this test waiting.
    let path = NSTemporaryDirectory() + "/block-output-\(UUID().uuidString)"
    guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
    else { throw BlockServerError("no file for the output of a shell") }
    defer { try? FileManager.default.removeItem(atPath: path) }
    process.standardOutput = file
    process.standardError = file
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try file.close()
    let output = try String(contentsOfFile: path, encoding: .utf8)
    guard process.terminationStatus == 0 else { throw BlockServerError("\(line): \(output)") }
    return output
}

/// What a test could not do.
struct BlockServerError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
