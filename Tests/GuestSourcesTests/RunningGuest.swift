import BackupEngine
import Foundation
import Glibc
import Logging
import SystemIO
import TestSupport
import Testing
import Workers

@testable import GuestSources

/// A guest in a real QEMU, with a disk in a folder of its own. It ends with this object, and with this process.
final class RunningGuest: Sendable {
    let folder: TemporaryFolder
    let processIdentifier: Int32
    private let line: LineProcess

    /// The monitor that backups use, one more for the test, and the channel of the guest's agent.
    var socket: String { folder.path + "/vm.qmp" }
    var control: String { folder.path + "/control.qmp" }
    var agent: String { folder.path + "/vm.qga" }
    var disk: String { folder.path + "/disk.raw" }
    var console: String { (try? String(contentsOfFile: folder.path + "/console", encoding: .utf8)) ?? "" }

    func uri(_ drive: String = "vda", _ more: String = "") -> String {
        "qmp+unix:///\(drive)?socket=\(socket)\(more)"
    }

    /// Starts QEMU, emulated, with what a test adds; `DISK` in its words stands for the folder.
    init(_ arguments: [String], in folder: TemporaryFolder) throws {
        self.folder = folder
        // The shell holds the other end of our socket: at its end, also by our death, QEMU goes.
        let script = """
            output=$1; shift
            "$@" >"$output" 2>&1 </dev/null & qemu=$!
            echo $qemu
            cat >/dev/null; kill -KILL $qemu; wait
            """
        let path = folder.path
        let own = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel",
            "tcg", "-cpu", "max", "-nic", "none", "-serial", "file:\(path)/console", "-qmp",
            "unix:\(path)/vm.qmp,server=on,wait=off", "-qmp", "unix:\(path)/control.qmp,server=on,wait=off",
        ]
        let words = own + arguments.map { $0.replacingOccurrences(of: "DISK", with: path) }
        line = try LineProcess(["/bin/sh", "-c", script, "sh", path + "/output"] + words)
        guard let process = Int32(try line.greeting(seconds: 10)) else { throw GuestTestError("no process") }
        processIdentifier = process
        for _ in 0..<1000 where access(control, F_OK) != 0 { usleep(10_000) }
        guard access(control, F_OK) == 0 else {
            throw GuestTestError("no QEMU: \((try? String(contentsOfFile: path + "/output", encoding: .utf8)) ?? "")")
        }
    }

    /// One whose disk of 64 MiB begins with `sector`, and that has begun to run it.
    static func running(
        _ sector: [UInt8], device: String = "virtio-blk-pci,id=vda", more: [String] = []
    ) throws -> RunningGuest {
        let folder = try TemporaryFolder()
        // No zeros, so that what is copied takes room.
        var image = [UInt8](repeating: 0x5a, count: 64 << 20)
        image.replaceSubrange(0..<512, with: sector)
        try Data(image).write(to: URL(fileURLWithPath: folder.path + "/disk.raw"))
        let guest = try RunningGuest(
            [
                "-m", "32M", "-drive", "file=DISK/disk.raw,if=none,id=hd0,format=raw",
            ] + more + ["-device", device + ",drive=hd0,bootindex=0"], in: folder)
        if sector == BootSector.counting { try guest.expectProgress() }
        return guest
    }

    /// A Linux guest with an ext4 file system on its disk and QEMU's agent, as Tests/Guests/linux makes it.
    static func linux(_ words: String = "") throws -> RunningGuest {
        let folder = try TemporaryFolder()
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
        let made = try shell("'\(tests)/Guests/linux'").split(separator: "\n")
        let place = try #require(made.last.map(String.init))
        try shell("truncate -s 64M \(folder.path)/disk.raw && /sbin/mkfs.ext4 -q -F \(folder.path)/disk.raw")
        let guest = try RunningGuest(
            [
                "-m", "256M", "-kernel", place + "/vmlinuz", "-initrd", place + "/initramfs", "-append",
                "console=ttyS0 quiet panic=-1 mitigations=off \(words)", "-no-reboot", "-drive",
                "file=DISK/disk.raw,if=none,id=hd0,format=raw", "-device", "virtio-blk-pci,id=vda,drive=hd0", "-device",
                "virtio-serial-pci", "-chardev", "socket,id=agent,path=DISK/vm.qga,server=on,wait=off", "-device",
                "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            ], in: folder)
        for _ in 0..<900 where !guest.console.contains("guest-ready") { usleep(100_000) }
        guard guest.console.contains("guest-ready") else { throw GuestTestError("no guest: \(guest.console)") }
        return guest
    }

    func end() { line.end() }

    // MARK: What the guest does

    /// The two numbers of a counting guest, as its disk has them now.
    var counters: (first: UInt32, second: UInt32) {
        get throws { Self.counters(in: try bytes(at: BootSector.first * 512), try bytes(at: BootSector.second * 512)) }
    }

    static func counters(in image: [UInt8]) -> (first: UInt32, second: UInt32) {
        counters(
            in: Array(image[Int(BootSector.first * 512)...].prefix(4)),
            Array(image[Int(BootSector.second * 512)...].prefix(4)))
    }

    private static func counters(in first: [UInt8], _ second: [UInt8]) -> (first: UInt32, second: UInt32) {
        func number(_ bytes: [UInt8]) -> UInt32 { bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) } }
        return (number(first), number(second))
    }

    private func bytes(at offset: UInt64) throws -> [UInt8] {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: disk))
        defer { try? file.close() }
        try file.seek(toOffset: offset)
        return Array(try file.read(upToCount: 4) ?? Data())
    }

    /// A counting guest counts on, within half a minute.
    func expectProgress(_ location: SourceLocation = #_sourceLocation) throws {
        let before = try counters.first
        for _ in 0..<3000 {
            let now = try counters.first
            if now != before, now != 0x5a5a_5a5a { return }
            usleep(10_000)
        }
        Issue.record("the guest does not go on: \(before)", sourceLocation: location)
    }

    /// Nothing of ours is in QEMU: no export, no server, no job, no node, no descriptor.
    func expectNothingLeft(_ location: SourceLocation = #_sourceLocation) throws {
        let monitor = try QMPConnection(control, patience: .seconds(10))
        func names(_ command: String, _ arguments: QMPValue = [:]) throws -> String {
            String(decoding: try monitor.execute(command, arguments).encoded, as: UTF8.self)
        }
        #expect(try names("query-block-exports") == "[]", sourceLocation: location)
        #expect(try names("query-block-jobs") == "[]", sourceLocation: location)
        #expect(try names("query-fdsets") == "[]", sourceLocation: location)
        for text in [try names("query-named-block-nodes", ["flat": true]), try names("query-block")] {
            #expect(!text.contains("\"node-name\":\"holdfast-"), "\(text)", sourceLocation: location)
        }
        #expect(throws: QMPRefusal.self, sourceLocation: location) { try monitor.execute("nbd-server-stop") }
    }

    /// Sources whose notes are beside the disk.
    func sources(patience: Duration = .seconds(20), agentPatience: Duration = .seconds(5)) -> GuestSources {
        GuestSources(
            stateDirectory: folder.path + "/state", patience: patience, agentPatience: agentPatience,
            lockPatience: .seconds(1), log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    var notes: [GuestJournal.Note] { GuestJournal(path: folder.path + "/state/guests").notes().map(\.note) }

    /// Opens a drive, and gives the error that this ends with.
    func failure(
        _ drive: String = "vda", _ more: String = "", _ location: SourceLocation = #_sourceLocation
    ) throws -> EngineError {
        do {
            try sources().open(uri(drive, more)).close()
        } catch { return error }
        Issue.record("a backup that must fail does not", sourceLocation: location)
        throw GuestTestError("no failure")
    }
}

/// Runs a shell line to its end; throws what it printed if it fails.
@discardableResult
func shell(_ line: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", line]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw GuestTestError("\(line): \(output)") }
    return output
}

/// Keeps what it is given, and takes its time if it is told to.
final class ImageSink: FrameSink {
    let frameByteCount = 1 << 20
    private let pool = BufferPool(capacityByteCount: FrameWindow.frameLimit << 20)
    private let keeps: Bool
    private(set) var bytes: [UInt8] = []
    private(set) var byteCount: UInt64 = 0
    private(set) var dataFrames = 0
    private let delay: UInt32
    private let beforeFrame: (Int) throws -> Void
    private let beforeZeros: () throws -> Void

    /// `milliseconds` that each frame of data takes.
    init(
        keeps: Bool = true, milliseconds: UInt32 = 0, beforeFrame: @escaping (Int) throws -> Void = { _ in },
        beforeZeros: @escaping () throws -> Void = {}
    ) {
        (self.keeps, delay) = (keeps, milliseconds * 1000)
        (self.beforeFrame, self.beforeZeros) = (beforeFrame, beforeZeros)
    }

    func awaitRoom() {}
    func takeFrameBuffer() throws -> Buffer { pool.takeWaiting(byteCount: frameByteCount) }

    func submit(_ raw: Buffer, count: Int) throws {
        try beforeFrame(dataFrames)
        if delay > 0 { usleep(delay) }
        if keeps { bytes += raw.prefix(count) }
        byteCount += UInt64(count)
        dataFrames += 1
    }

    func submitZeroBlocks(_ blocks: UInt64) throws {
        try beforeZeros()
        if keeps { bytes += [UInt8](repeating: 0, count: Int(blocks) << 20) }
        byteCount += blocks << 20
    }
}

/// What a test could not do.
struct GuestTestError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
