import BackupEngine
import Foundation
import Glibc
import Logging
import SystemIO
import TestSupport
import Testing

@testable import GuestSources

/// Real guests: nothing here is played by anybody else.
@Suite(
    "Disks of running guests", .serialized, .timeLimit(.minutes(4)),
    .enabled(if: ChildProcess.find("qemu-system-x86_64") != nil, "QEMU is not installed"))
struct GuestSourceTests {
    /// Reads a drive, and checks that it is of one moment: between the guest's two writes the first is one ahead.
    private func expectOnePoint(
        _ guest: RunningGuest, _ drive: String, _ location: SourceLocation = #_sourceLocation
    ) throws {
        let before = try guest.counters.first
        let source = try guest.sources().open(guest.uri(drive))
        let opened = Int64(time(nil))
        let moment = try guest.counters.second
        #expect(source.byteCount == 64 << 20 && source.consistency == "qmp", sourceLocation: location)
        #expect(source.consistentAt.map { (opened - 5...opened).contains($0) } == true, sourceLocation: location)
        // Slow enough for the guest to get on.
        let sink = ImageSink(milliseconds: 5)
        try source.stream(to: sink) { _, _ in }
        let (first, second) = RunningGuest.counters(in: sink.bytes)
        #expect(first == second || first == second + 1, "\(first) and \(second)", sourceLocation: location)
        #expect(first >= before && second <= moment, "the moment is that of opening", sourceLocation: location)
        #expect(try guest.counters.second > moment, "the guest went on meanwhile", sourceLocation: location)
        #expect(sink.bytes.count == 64 << 20 && sink.bytes[5 << 20] == 0x5a, sourceLocation: location)
        try guest.expectProgress(location)
        try guest.expectNothingLeft(location)
        #expect(guest.notes.isEmpty, sourceLocation: location)
    }

    @Test(arguments: [
        ("virtio-blk-pci,id=vda", "vda"), ("ide-hd,id=old,bus=ide.0", "old"), ("virtio-blk-pci", "hd0"),
        ("scsi-hd,id=sda,bus=scsi.0", "sda"),
    ])
    func `what is read is of one moment, twice in a row, while the guest goes on`(device: String, drive: String) throws
    {
        let guest = try RunningGuest.running(
            BootSector.counting, device: device, more: ["-device", "virtio-scsi-pci,id=scsi"])
        defer { guest.end() }
        try expectOnePoint(guest, drive)
        try expectOnePoint(guest, drive)
    }

    @Test
    func
        `a drive is called by its id, its path, its node or its block device, and one that is none is told the others`()
        throws
    {
        let guest = try RunningGuest.running(BootSector.counting)
        defer { guest.end() }
        let device = try #require(try GuestDevice.all(QMPConnection(guest.control, patience: .seconds(10))).first)
        #expect(device.names.count == 4 && device.names.contains("hd0") && device.names[0] == "vda", "\(device)")
        for name in device.names {
            let escaped = name.replacingOccurrences(of: "#", with: "%23")
            let source = try guest.sources().open(guest.uri(escaped))
            source.close()
            source.close()
        }
        let error = try guest.failure("vdb")
        #expect(
            error.code == .source && error.detail.contains("no drive \"vdb\"") && error.hint == "it has: vda",
            "\(error)")
        try guest.expectNothingLeft()
    }

    @Test func `a sparse image of 100 GiB takes the time of its data`() throws {
        let folder = try TemporaryFolder()
        try shell(
            "qemu-img create -q -f qcow2 \(folder.path)/d.qcow2 100G && qemu-io -f qcow2 -c 'write -P 7 70G 64M' \(folder.path)/d.qcow2"
        )
        let guest = try RunningGuest(
            [
                "-m", "32M", "-blockdev",
                "driver=qcow2,node-name=big,discard=unmap,file.driver=file,file.filename=DISK/d.qcow2", "-device",
                "virtio-blk-pci,drive=big",
            ], in: folder)
        defer { guest.end() }
        let source = try guest.sources().open(guest.uri("big"))
        let sink = ImageSink(keeps: false)
        let start = ContinuousClock.now
        try source.stream(to: sink) { _, _ in }
        let time = ContinuousClock.now - start
        #expect(sink.byteCount == 100 << 30 && (64...66).contains(sink.dataFrames), "\(sink.dataFrames) frames")
        #expect(time < .seconds(20), "\(time)")
        print("100 GiB with 64 MiB of data were read in \(time)")
        try guest.expectNothingLeft()
    }

    @Test(arguments: ["raw", "qcow2"])
    func `every byte comes, of an odd length and from below a backing file, before and after it is overwritten`(
        format: String
    ) throws {
        let folder = try TemporaryFolder()
        let path = folder.path
        try shell("head -c 5000000 /dev/urandom > \(path)/base.raw && truncate -s 9437696 \(path)/base.raw")
        try shell(
            format == "raw"
                ? "mv \(path)/base.raw \(path)/d.raw"
                : "qemu-img create -q -f qcow2 -b base.raw -F raw \(path)/d.qcow2 && qemu-io -f qcow2 -c 'write -P 9 6M 100k' -c 'write -z 1M 1M' \(path)/d.qcow2"
        )
        try shell("qemu-img convert -f \(format) -O raw \(path)/d.\(format) \(path)/before.raw")
        let guest = try RunningGuest(
            [
                "-m", "32M", "-drive", "file=DISK/d.\(format),if=none,id=hd0,format=\(format)", "-device",
                "virtio-blk-pci,id=vda,drive=hd0",
            ], in: folder)
        defer { guest.end() }
        let source = try guest.sources().open(guest.uri())
        // As the guest's device would: zeros, a hole, and data, over the ends of clusters.
        do {
            let control = try QMPConnection(guest.control, patience: .seconds(10))
            for line in ["write -P 3 0 70000", "write -z 3M 100k", "discard 4M 1M", "write -P 4 9437184 512"] {
                try control.execute(
                    "human-monitor-command",
                    ["command-line": .text("qemu-io -d /machine/peripheral/vda/virtio-backend \"\(line)\"")])
            }
        }
        let sink = ImageSink()
        try source.stream(to: sink) { _, _ in }
        let before = try Data(contentsOf: URL(fileURLWithPath: path + "/before.raw"))
        let taken = Data(sink.bytes)
        let different = stride(from: 0, to: before.count, by: 64 << 10).filter { start in
            let end = min(before.count, start + (64 << 10))
            return before[start..<end] != taken.prefix(end).dropFirst(start)
        }
        #expect(taken.count == before.count && different.isEmpty, "\(different)")
        try guest.expectNothingLeft()
        guest.end()
        let after = try shell(
            "qemu-img convert -f \(format) -O raw \(path)/d.\(format) \(path)/after.raw; cmp \(path)/before.raw \(path)/after.raw | wc -l"
        )
        #expect(after == "1\n", "what was written meanwhile is there: \(after)")
    }

    @Test func `a guest that overwrites more than there is room for goes on, and its backup fails`() throws {
        let guest = try RunningGuest.running(BootSector.sweeping)
        defer { guest.end() }
        let source = try guest.sources().open(guest.uri("vda", "&overlay=16MiB"))
        var failure: EngineError?
        do {
            try source.stream(to: ImageSink(keeps: false, milliseconds: 400)) { _, _ in }
        } catch let error as EngineError { failure = error }
        #expect(
            failure?.code == .source && failure?.detail.contains("overwrote more than 16 MiB") == true,
            "\(failure as Any)")
        #expect(failure?.hint?.contains("overlay=") == true)
        try guest.expectNothingLeft()
        // It writes on, and QEMU has told it of no error.
        let monitor = try QMPConnection(guest.control, patience: .seconds(10))
        func written() throws -> Int64 {
            try #require(
                try monitor.execute("query-blockstats").elements.compactMap { $0["stats"]["wr_operations"].integer }
                    .max())
        }
        let before = try written()
        usleep(500_000)
        #expect(try written() > before)
        let failed = try monitor.execute("query-blockstats").elements.compactMap {
            $0["stats"]["failed_wr_operations"].integer
        }
        #expect(failed.allSatisfy { $0 == 0 })
        #expect(try monitor.execute("query-status")["status"] == "running")
    }

    @Test func `a snapshot that breaks when only holes are left to read fails the backup, too`() throws {
        let folder = try TemporaryFolder()
        try shell("head -c 32M /dev/urandom > \(folder.path)/d.raw && truncate -s 256M \(folder.path)/d.raw")
        let guest = try RunningGuest(
            [
                "-m", "32M", "-drive", "file=DISK/d.raw,if=none,id=hd0,format=raw", "-device",
                "virtio-blk-pci,id=vda,drive=hd0",
            ], in: folder)
        defer { guest.end() }
        let control = try QMPConnection(guest.control, patience: .seconds(10))
        for isBroken in [false, true] {
            let source = try guest.sources().open(guest.uri("vda", "&overlay=16MiB"))
            var isFirst = true
            let sink = ImageSink(
                keeps: false,
                beforeZeros: {
                    guard isBroken, isFirst else { return }
                    isFirst = false
                    try control.execute(
                        "human-monitor-command",
                        ["command-line": "qemu-io -d /machine/peripheral/vda/virtio-backend \"write -P 3 0 24M\""])
                })
            var failure: EngineError?
            do {
                try source.stream(to: sink) { _, _ in }
            } catch let error as EngineError { failure = error }
            #expect(sink.byteCount == 256 << 20 && sink.dataFrames == 32)
            #expect(
                (failure != nil) == isBroken && failure?.detail.contains("overwrote more") != false, "\(failure as Any)"
            )
        }
    }

    @Test func `a reader that gives up leaves nothing`() throws {
        let guest = try RunningGuest.running(BootSector.counting)
        defer { guest.end() }
        let source = try guest.sources().open(guest.uri())
        #expect(throws: EngineError.self) {
            try source.stream(to: ImageSink(keeps: false)) { given, _ in
                if given > 5 << 20 { throw EngineError(.cancelled, "enough") }
            }
        }
        try guest.expectNothingLeft()
        try guest.expectProgress()
    }

    @Test func `a guest that ends while its disk is read ends the backup, and nothing is noted`() throws {
        let guest = try RunningGuest.running(BootSector.counting)
        let source = try guest.sources().open(guest.uri())
        #expect {
            try source.stream(
                to: ImageSink(keeps: false, beforeFrame: { if $0 == 10 { kill(guest.processIdentifier, SIGKILL) } })
            ) {
                _, _ in
            }
        } throws: { ($0 as? EngineError)?.code == .source && "\($0)".contains("cannot be read at ") }
        guest.end()
        #expect(guest.notes.isEmpty)
    }

    @Test func `a node that somebody puts below meanwhile stays the guest's`() throws {
        let guest = try RunningGuest.running(BootSector.counting)
        defer { guest.end() }
        try shell("qemu-img create -q -f qcow2 -b \(guest.disk) -F raw \(guest.folder.path)/top.qcow2")
        let control = try QMPConnection(guest.control, patience: .seconds(10))
        let node = try #require(try GuestDevice.all(control).first?.node)
        let source = try guest.sources().open(guest.uri())
        try control.execute(
            "blockdev-add",
            [
                "driver": "qcow2", "node-name": "top", "backing": nil,
                "file": ["driver": "file", "filename": .text(guest.folder.path + "/top.qcow2")],
            ])
        try control.execute("blockdev-snapshot", ["node": .text(node), "overlay": "top"])
        source.close()
        #expect(try GuestDevice.all(control).first?.node == "top")
    }

    // MARK: What is refused

    @Test func `a socket that is not there, refuses, is silent or speaks otherwise is told apart, before any work`()
        throws
    {
        let folder = try TemporaryFolder()
        let sources = GuestSources(
            stateDirectory: folder.path + "/state", patience: .seconds(1),
            log: .init(label: "test") { _ in SwiftLogNoOpLogHandler() })
        func expect(_ socket: String, _ words: String, _ location: SourceLocation = #_sourceLocation) {
            #expect(sourceLocation: location) {
                _ = try sources.open("qmp+unix:///vda?socket=\(socket)")
            } throws: { error in
                guard let error = error as? EngineError else { return false }
                return error.code == .source && error.detail.contains(words) && error.hint != nil
            }
        }
        expect(folder.path + "/absent", "there is no socket")
        let silent = try Listener(folder.path + "/silent")
        expect(silent.path, "says nothing")
        let rude = try Listener(folder.path + "/rude", says: "220 mail.example.org\n")
        expect(rude.path, "is no QMP socket")
        silent.close()
        expect(silent.path, "nobody listens")
        #expect(GuestJournal(path: folder.path + "/state/guests").notes().isEmpty)
    }

    @Test func `the NBD server of somebody else is left to them`() throws {
        let guest = try RunningGuest.running(BootSector.counting)
        defer { guest.end() }
        let control = try QMPConnection(guest.control, patience: .seconds(10))
        try control.execute(
            "nbd-server-start", ["addr": ["type": "unix", "data": ["path": .text(guest.folder.path + "/nbd")]]])
        let error = try guest.failure()
        #expect(error.code == .source && error.detail.contains("NBD server of its QEMU is in use"), "\(error)")
        let node = try #require(try GuestDevice.all(control).first?.node)
        try control.execute(
            "block-export-add", ["type": "nbd", "id": "theirs", "node-name": .text(node), "name": "theirs"])
        let named = try guest.failure()
        #expect(named.detail.contains("by the export \"theirs\""), "\(named)")
        #expect(try shell("nbdinfo --size 'nbd+unix:///theirs?socket=\(guest.folder.path)/nbd'") == "\(64 << 20)\n")
        try control.execute("block-export-del", ["id": "theirs"])
        try control.execute("nbd-server-stop")
    }

    @Test(arguments: [
        "virtio-blk-pci,id=vda,iothread=io0", "scsi-hd,id=vda,bus=scsi.0",
    ])
    func `a drive that an iothread serves is refused where QEMU would not survive it`(device: String) throws {
        let guest = try RunningGuest.running(
            BootSector.counting, device: device,
            more: ["-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=scsi,iothread=io0"])
        defer { guest.end() }
        let version = try QMPConnection(guest.control, patience: .seconds(10)).version
        if version < QMPConnection.Version(major: 8, minor: 2) {
            let error = try guest.failure()
            #expect(error.code == .source && error.detail.contains("iothread \"/objects/io0\""), "\(error)")
            try guest.expectProgress()
        } else {
            try expectOnePoint(guest, "vda")
        }
        try guest.expectNothingLeft()
    }

    @Test func `two backups of one guest do not run at once, and the second says so`() throws {
        let guest = try RunningGuest.running(BootSector.counting)
        defer { guest.end() }
        let source = try guest.sources().open(guest.uri())
        let second = try guest.failure()
        #expect(second.code == .busy, "\(second)")
        // By another monitor: its nodes are seen, and left.
        do {
            try guest.sources().open("qmp+unix:///vda?socket=\(guest.control)").close()
            Issue.record("a second backup of a drive began")
        } catch { #expect(error.code == .busy, "\(error)") }
        let sink = ImageSink()
        try source.stream(to: sink) { _, _ in }
        let (first, other) = RunningGuest.counters(in: sink.bytes)
        #expect(first == other || first == other + 1)
        try guest.expectNothingLeft()
    }
}

/// A socket that takes connections, and says no more than it is told to.
private final class Listener: Sendable {
    let path: String
    private let descriptor: Int32

    init(_ path: String, says text: String? = nil) throws {
        self.path = path
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let descriptor = descriptor
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard status == 0, listen(descriptor, 8) == 0 else { throw GuestTestError("no listener") }
        guard let text else { return }
        Thread {
            while case let client = accept(descriptor, nil, nil), client >= 0 {
                _ = Array(text.utf8).withUnsafeBytes { write(client, $0.baseAddress, $0.count) }
                usleep(200_000)
                Glibc.close(client)
            }
        }.start()
    }

    func close() { Glibc.close(descriptor) }
}
