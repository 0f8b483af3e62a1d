import Foundation
import Glibc
import TestSupport
import Testing

/// The built program with a configuration, a key and a folder as backend.
private struct CommandBench {
    let folder: TemporaryFolder
    private let program: String

    init() throws {
        folder = try TemporaryFolder()
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        program =
            ProcessInfo.processInfo.environment["HOLDFAST_TEST_BINARY"]
            ?? URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("holdfast").path
        try shell("mkdir -p \(folder.path)/backups \(folder.path)/tmp")
        try """
        state_dir = "state"
        keys_dir = "keys"
        [backends.local]
        type = "directory"
        path = "backups"
        """.write(toFile: folder.path + "/c.toml", atomically: true, encoding: .utf8)
        try run("\(program) keys create acme --config c.toml")
    }

    /// A line in the folder.
    @discardableResult
    func run(_ line: String) throws -> String {
        try shell("cd \(folder.path) && { \(line) ; }", environment: ["TMPDIR": folder.path + "/tmp"])
    }

    func backupLine(_ source: String, _ options: String = "") -> String {
        "\(program) backup '\(source)' --org acme --vm web --config c.toml \(options)"
    }

    @discardableResult
    func backUp(_ source: String, _ options: String = "") throws -> String { try run(backupLine(source, options)) }

    /// What it prints and the exit code, where it fails.
    func failure(_ source: String, _ options: String = "") throws -> String {
        try run("if \(backupLine(source, options)); then echo succeeded; else echo \"exit $?\"; fi")
    }

    /// Nothing is registered, nothing is at the backend, no server of ours runs, no socket is left.
    func expectNothing(_ location: SourceLocation = #_sourceLocation) throws {
        #expect(
            try run("\(program) list --json --config c.toml").contains("\"backup\"") == false, sourceLocation: location)
        #expect(try run("find backups -type f -not -path '*catalog*' | head") == "", sourceLocation: location)
        #expect(try run("ls -A tmp") == "", sourceLocation: location)
        #expect(try run("pgrep -a -f '[q]emu-nbd.*\(folder.path)' || true") == "", sourceLocation: location)
    }
}

@Suite("holdfast backup of every kind of source", .serialized, .timeLimit(.minutes(3)))
struct BackupCommandTests {
    @Test func `each kind of source gives the hash of the disk`() throws {
        let bench = try CommandBench()
        let image = try RandomImage(
            bench.folder.path + "/a.raw", byteCount: 5 << 20, pieces: 5, seed: UInt64.random(in: 0...UInt64.max))
        let odd = try RandomImage(
            bench.folder.path + "/odd.raw", byteCount: 3_210_987, pieces: 4, seed: UInt64.random(in: 0...UInt64.max))
        let hash = try bench.run("sha256sum a.raw").prefix(64)
        let oddHash = try bench.run("sha256sum odd.raw").prefix(64)
        for format in ["qcow2", "vmdk", "vdi", "vhdx"] {
            try bench.run("qemu-img convert -f raw -O \(format) a.raw a.\(format) && cp a.\(format) \(format).img")
            #expect(try bench.backUp("a.\(format)").contains(hash), "\(format)")
            #expect(try bench.backUp("\(format).img", "--format \(format)").contains(hash), "\(format)")
        }
        let server = try BlockServer.nbdkit("file", odd.path)
        #expect(try bench.backUp(server.uri()).contains(oddHash))
        #expect(try bench.backUp("odd.raw").contains(oddHash))
        #expect(try bench.backUp(image.path, "--format raw").contains(hash))
        #expect(try bench.run("ls -A tmp") == "")
    }

    @Test func `a source that fails in the middle registers nothing and leaves nothing`() throws {
        let bench = try CommandBench()
        try bench.run("head -c 48M /dev/urandom > a.raw && mkfifo never")
        let broken = try BlockServer.nbdkit(
            "--filter=error", "--filter=delay", "file", "\(bench.folder.path)/a.raw", "error-pread=EIO",
            "error-pread-rate=100%", "error-pread-file=\(bench.folder.path)/trigger", "rdelay=10ms")
        let source = broken.uri()
        // The error begins while the backup is under way.
        let output = try bench.run(
            "(sleep 0.15; touch trigger) & \(bench.backupLine(source)) || echo \"exit $?\"; wait")
        #expect(output.contains("cannot be read at ") && output.contains("exit 7"), "\(output)")
        try bench.expectNothing()

        try bench.run("qemu-img convert -f raw -O qcow2 a.raw a.qcow2 && rm trigger")
        let slow = try BlockServer.nbdkit("--filter=delay", "file", "\(bench.folder.path)/a.raw", "rdelay=30ms")
        let killed = try bench.run(
            "(sleep 0.15; kill -KILL \(slow.processIdentifier)) & \(bench.backupLine(slow.uri())) || echo \"exit $?\"; wait"
        )
        #expect(killed.contains("cannot be read at ") && killed.contains("exit 7"), "\(killed)")
        try bench.expectNothing()
    }

    @Test func `what cannot be opened is an error before any work`() throws {
        let bench = try CommandBench()
        for (source, words) in [
            ("nbd+unix:///?socket=absent", "No such file"), ("nbd://127.0.0.1:1/", "Connection refused"),
            ("absent.qcow2", "No such file"),
        ] {
            let output = try bench.failure(source)
            #expect(output.contains(words) && output.contains("exit 7"), "\(output)")
        }
        let empty = try BlockServer.nbdkit("null", "size=0")
        #expect(try bench.failure(empty.uri()).contains("is empty"))
        try bench.expectNothing()
    }

    @Test func `killed while it reads an image, it leaves neither a process nor a folder`() throws {
        let bench = try CommandBench()
        try bench.run("head -c 200M /dev/urandom > a.raw && qemu-img convert -f raw -O qcow2 a.raw a.qcow2 && rm a.raw")
        for delay in [0.05, 0.15, 0.3] {
            try bench.run("timeout -s KILL \(delay) \(bench.backupLine("a.qcow2")) >/dev/null 2>&1 || true")
            // The kernel kills it when we are gone.
            for _ in 0..<100 {
                if try bench.run("pgrep -f '[q]emu-nbd.*\(bench.folder.path)' || true") == "" { break }
                usleep(10_000)
            }
            #expect(try bench.run("pgrep -a -f '[q]emu-nbd.*\(bench.folder.path)' || true") == "", "after \(delay) s")
            #expect(try bench.run("ls -A tmp") == "", "after \(delay) s")
        }
        #expect(try bench.backUp("a.qcow2").contains("200"))
        #expect(try bench.run("ls -A tmp") == "")
    }

    @Test func `a dry run reads everything and stores nothing`() throws {
        let bench = try CommandBench()
        try bench.run(
            "qemu-img create -q -f qcow2 a.qcow2 4G && qemu-io -f qcow2 -c 'write -P 7 1G 64M' a.qcow2 >/dev/null")
        let output = try bench.backUp("a.qcow2", "--dry-run --json")
        #expect(
            output.contains("\"rawBytes\" : \(4 << 30)") && output.contains("\"dataBytes\" : \(64 << 20)"), "\(output)")
        #expect(try bench.backUp("a.qcow2", "--dry-run").contains("stored      nothing"))
        // What a backup would refuse: a disk that is cut short.
        try bench.run("truncate -s 64M b.raw && printf ',,L' | sfdisk -q --label gpt b.raw && truncate -s 32M b.raw")
        #expect(try bench.failure("b.raw", "--dry-run").contains("cut short"))
        try bench.expectNothing()
    }
}
