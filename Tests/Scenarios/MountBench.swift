import Foundation
import Glibc
import TestSupport
import Testing

/// What a shell line did.
struct ShellResult: CustomStringConvertible {
    let status: Int32
    /// Standard output and error together.
    let output: String

    var description: String { "status \(status): \(output)" }
}

/// The built program, its configuration and key in a temporary folder, its backend there or in a bucket of its own, and a
/// real mount. Everything but the bucket, which goes with its server, is undone when it goes.
final class MountBench {
    static let isPossible = getuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0

    let folder: String
    /// nil if the backend is a folder.
    let bucket: BenchBucket?
    private(set) var isMounted = false

    var mount: String { folder + "/mnt" }
    var staging: String { mount + "/staging/local/acme/web" }
    var latest: String { mount + "/local/acme/web/latest" }

    /// Beside the test program, where SwiftPM puts both; or named by the environment.
    static let program: String = {
        if let named = ProcessInfo.processInfo.environment["HOLDFAST_TEST_BINARY"] { return named }
        let own =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("holdfast").path
    }()

    /// - Parameters:
    ///   - place: where the backend `local` is.
    ///   - lab: what stands before the server of that place.
    ///   - bucketSettings: lines of the backend's table, for a bucket.
    ///   - locks: the bucket is made to lock objects.
    ///   - config: more lines of the file.
    init(
        mounts: Bool = true, on place: BenchPlace = .directory, through lab: LabProxy? = nil,
        bucketSettings: String = "", locks: Bool = false,
        config: String = ""
    ) throws {
        folder = "/tmp/holdfast-scenario-\(UUID().uuidString.prefix(8))"
        bucket = try place.serverKind.map { try BenchBucket(S3Server.shared($0), locks: locks) }
        try FileManager.default.createDirectory(atPath: folder + "/mnt", withIntermediateDirectories: true)
        var backendTable = """
            type = "directory"
            path = "backups"
            """
        if let bucket {
            let server = bucket.server
            backendTable = """
                type = "s3"
                endpoint = "\(lab?.endpoint ?? server.endpoint)"
                bucket = "\(bucket.name)"
                region = "\(server.region)"
                credentials_file = "credentials"
                \(bucketSettings)
                """
            let credentials = """
                [default]
                aws_access_key_id = \(server.accessKey)
                aws_secret_access_key = \(server.secretKey)

                """
            _ = FileManager.default.createFile(
                atPath: folder + "/credentials", contents: Data(credentials.utf8),
                attributes: [.posixPermissions: 0o600])
        } else {
            try FileManager.default.createDirectory(atPath: folder + "/backups", withIntermediateDirectories: true)
        }
        try """
        state_dir = "state"
        keys_dir = "keys"
        [backends.local]
        \(backendTable)
        \(config)
        """.write(toFile: folder + "/c.toml", atomically: true, encoding: .utf8)
        #expect(try shell("holdfast keys create acme --config c.toml").status == 0)
        if mounts {
            try self.startMount()
            #expect(try shell("mkdir -p '\(staging)'").status == 0)
        }
    }

    deinit {
        try? killDaemon()
        try? FileManager.default.removeItem(atPath: folder)
    }

    func startMount(by wrapper: String = "", options: String = "") throws {
        let result = try shell("\(wrapper) holdfast mount \(folder)/c.toml \(folder)/mnt \(options)")
        #expect(result.status == 0, "\(result)")
        isMounted = result.status == 0
    }

    /// The process ids of this mount's daemon: one, or none.
    private var daemons: [Int32] {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.compactMap { Int32($0) }.filter { process in
            guard let line = try? String(contentsOfFile: "/proc/\(process)/cmdline", encoding: .utf8) else {
                return false
            }
            let words = line.split(separator: "\0")
            return words.count > 3 && words[0].hasSuffix("holdfast") && words[1] == "mount" && words[3] == mount
        }
    }

    /// The daemon's process id.
    var daemon: Int32 {
        get throws { try #require(daemons.first) }
    }

    /// The most memory that the daemon ever had, in bytes.
    var peakMemory: Int {
        get throws {
            let status = try String(contentsOfFile: "/proc/\(daemon)/status", encoding: .utf8)
            let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
            return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) }) << 10
        }
    }

    /// The files that the daemon has open. Connections, which are kept, do not count, nor what libdispatch waits by (GRDB has it do so
    /// now and then), nor those of the catalog: SQLite has one for each thread that reads at the same moment, at most four, and keeps them.
    var openFiles: Int {
        get throws {
            let folder = "/proc/\(try daemon)/fd"
            return try FileManager.default.contentsOfDirectory(atPath: folder).count { name in
                let target = try? FileManager.default.destinationOfSymbolicLink(atPath: folder + "/" + name)
                return target.map { target in
                    !target.hasPrefix("socket:") && !target.hasPrefix("anon_inode:")
                        && !target.contains("/catalog.sqlite")
                } ?? false
            }
        }
    }

    func unmount() throws {
        let ending = daemons
        #expect(try shell("umount mnt").status == 0)
        waitForEnd(of: ending)
    }

    /// Ends the daemon by a command that is given its process id; with files open, too.
    func endDaemon(by command: String) throws {
        let ending = daemons
        let result = try shell(command + ending.map { " \($0)" }.joined())
        #expect(result.status == 0, "\(command): \(result)")
        waitForEnd(of: ending)
    }

    /// SIGKILL, and what is left of the mount taken away.
    func killDaemon() throws {
        let ending = daemons
        for daemon in ending { kill(daemon, SIGKILL) }
        _ = try shell("umount -l mnt 2>/dev/null")
        waitForEnd(of: ending)
    }

    /// Waits until the processes have ended and closed all they had open; twenty seconds at most.
    func waitForEnd(of processes: [Int32], _ location: SourceLocation = #_sourceLocation) {
        // An ending process loses its command line before it closes its files, and stays as a zombie until it is waited for.
        func lives(_ process: Int32) -> Bool {
            guard let status = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8) else {
                return false
            }
            return !(status.contains("State:\tZ") && status.contains("Threads:\t1\n"))
        }
        let deadline = ContinuousClock.now + .seconds(20)
        while processes.contains(where: lives), ContinuousClock.now < deadline { usleep(5_000) }
        #expect(!processes.contains(where: lives), "the daemon is still there", sourceLocation: location)
        isMounted = false
    }

    /// Runs a line of bash in the folder; `holdfast` is the built program. Ended by force after `seconds`.
    func shell(_ line: String, seconds: Int = 60) throws -> ShellResult {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        let program = URL(fileURLWithPath: Self.program).deletingLastPathComponent().path
        process.arguments = [
            "--kill-after=5", "\(seconds)", "bash", "-c", "set -o pipefail; export PATH=\(program):$PATH; " + line,
        ]
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        // A file, not a pipe: a daemon that keeps the other end open must not keep this test waiting.
        let path = folder + "/.output-\(UUID().uuidString)"
        try Data().write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try handle.close()
        let output = try Data(contentsOf: URL(fileURLWithPath: path))
        return ShellResult(
            status: process.terminationStatus,
            output: String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Runs a line and expects success.
    @discardableResult
    func run(_ line: String, seconds: Int = 60, _ location: SourceLocation = #_sourceLocation) throws -> String {
        let result = try shell(line, seconds: seconds)
        #expect(result.status == 0, "\(line): \(result)", sourceLocation: location)
        return result.output
    }

    /// Starts a line of bash that goes on beside the test; its exit status goes to the file `<name>.status`.
    func start(_ name: String, _ line: String) throws {
        let path = folder + "/.start-\(UUID().uuidString).sh"
        try line.write(toFile: path, atomically: true, encoding: .utf8)
        // Python closes what Foundation waits for the end of, and takes back that this process's threads block signals.
        try run(
            """
            python3 -c "
            import signal,subprocess
            signal.pthread_sigmask(signal.SIG_SETMASK,[])
            subprocess.Popen(['bash','-c','bash \(path); echo \\$? > .\(name) && mv .\(name) \(name).status'],
                stdin=subprocess.DEVNULL,stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL,start_new_session=True)
            "
            """)
    }

    /// An image of `mebibytes`, half noise, half zeros; the same for the same seed.
    func makeImage(_ name: String, mebibytes: Int, seed: Int = 1) throws -> String {
        try run(
            """
            python3 -c "
            import random,sys
            r=random.Random(\(seed)); f=open('\(name)','wb')
            for i in range(\(mebibytes)):
                f.write(r.randbytes(1<<20) if i%2==0 else bytes(1<<20))
            "
            """)
        return folder + "/" + name
    }

    /// Runs Python that sees the staged path as `p`, and a few imports.
    func python(_ program: String, seconds: Int = 60) throws -> ShellResult {
        let path = folder + "/.program-\(UUID().uuidString).py"
        // This process's threads block signals, and a child would inherit that.
        try
            "import os,sys,errno,time,signal\nsignal.pthread_sigmask(signal.SIG_SETMASK,[])\np='\(staging)/disk.raw'\n\(program)\n"
            .write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try shell("python3 '\(path)'", seconds: seconds)
    }

    var status: String { (try? String(contentsOfFile: staging + "/disk.raw.status", encoding: .utf8)) ?? "" }

    /// Registered backups, by the command.
    var backups: [String] {
        get throws {
            try run("holdfast list --json --config c.toml | jq -r '.[].backup'").split(separator: "\n").map(String.init)
        }
    }
}

/// All scenarios that need no server: one after another, for they share the machine's mounts.
@Suite(
    "Scenarios", .serialized,
    .enabled(if: MountBench.isPossible, "a real mount needs root and /dev/fuse"))
struct Scenarios {}

/// Those over S3, which wait much of the time: one after another, beside the others.
@Suite(
    "Scenarios over S3", .serialized,
    .enabled(if: MountBench.isPossible, "a real mount needs root and /dev/fuse"),
    .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
struct StoreScenarios {}
