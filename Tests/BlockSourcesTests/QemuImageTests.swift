import BackupEngine
import Foundation
import Glibc
import TestSupport
import Testing

@testable import BlockSources

@Suite("Images of QEMU's formats", .serialized, .timeLimit(.minutes(2)))
struct QemuImageTests {
    private func open(
        _ path: String, _ format: ImageFormat = .auto, patience: Duration = .seconds(10),
        notice: (String) -> Void = { _ in }
    ) throws -> any ImageSource {
        try BlockSource.open(path, format: format, patience: patience, notice: notice)
    }

    private func failure(_ path: String, _ format: ImageFormat = .auto) -> EngineError {
        do {
            _ = try open(path, format)
            return EngineError(.source, "opened")
        } catch {
            return EngineError(error, subject: "a test")
        }
    }

    private func bytes(_ source: any ImageSource) throws -> [UInt8] {
        let sink = CollectingSink()
        try source.stream(to: sink) { _, _ in }
        return sink.bytes
    }

    /// What of ours runs on an image of this folder, or is left of sockets.
    private func leftovers(_ folder: TemporaryFolder) throws -> String {
        try shell("pgrep -a -f '[q]emu-nbd.*\(folder.path)' || true")
            + shell("ls -d ${TMPDIR:-/tmp}/holdfast-nbd-\(getpid())-* 2>/dev/null || true")
    }

    @Test(arguments: [ImageFormat.qcow2, .vmdk, .vdi, .vhdx])
    func `an image gives its disk's bytes, and leaves nothing behind`(format: ImageFormat) throws {
        let folder = try TemporaryFolder()
        let seed = UInt64.random(in: 0...UInt64.max)
        // QEMU counts in sectors; VirtualBox in MiB.
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 9 << 20, pieces: 7, seed: seed)
        let path = "\(folder.path)/a, b.\(format.rawValue)"
        try shell("qemu-img convert -f raw -O \(format.rawValue) \(image.path) '\(path)'")
        for chosen in [ImageFormat.auto, format] {
            #expect(try bytes(open(path, chosen)) == image.bytes, "seed \(seed)")
        }
        #expect(try leftovers(folder) == "")
    }

    @Test func `holes of a large image cost nothing`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell(
            "qemu-img create -q -f qcow2 \(path) 4G && qemu-io -f qcow2 -c 'write -P 7 1G 64M' \(path)")
        let start = ContinuousClock.now
        let sink = CountingSink()
        try open(path).stream(to: sink) { _, _ in }
        #expect(sink.byteCount == 4 << 30 && sink.dataFrames == 64)
        #expect(ContinuousClock.now - start < .seconds(2))
    }

    @Test func `the bytes of a backing file come through, and one that is missing is named`() throws {
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/base.raw", byteCount: 3 << 20, pieces: 3, seed: 5)
        try shell(
            """
            cd \(folder.path) && qemu-img convert -f raw -O qcow2 base.raw base.qcow2
            qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 middle.qcow2
            qemu-img create -q -f qcow2 -F qcow2 -b \(folder.path)/middle.qcow2 top.qcow2
            qemu-io -f qcow2 -c 'write -P 9 64k 64k' top.qcow2
            """)
        var expected = image.bytes
        for index in 65536..<131072 { expected[index] = 9 }
        #expect(try bytes(open(folder.path + "/top.qcow2")) == expected)
        try shell("mv \(folder.path)/base.qcow2 \(folder.path)/away")
        let error = failure(folder.path + "/top.qcow2")
        #expect(error.detail.contains("the backing file \"\(folder.path)/base.qcow2\": No such file"), "\(error)")
    }

    @Test func `a guest cannot name a file of the host`() throws {
        let folder = try TemporaryFolder()
        try "secret".write(toFile: folder.path + "/secret", atomically: true, encoding: .utf8)
        try shell("cd \(folder.path) && qemu-img create -q -f qcow2 -F raw -b secret evil.qcow2 1M")
        let evil = try Data(contentsOf: URL(fileURLWithPath: folder.path + "/evil.qcow2"))
        // As a raw image: its own bytes, and a word to the user.
        for name in ["disk.raw", "disk", "disk-flat.vmdk"] {
            try evil.write(to: URL(fileURLWithPath: folder.path + "/" + name))
            var notices: [String] = []
            let read = try bytes(open(folder.path + "/" + name) { notices.append($0) })
            #expect(Data(read) == evil && notices.count == 1 && notices[0].contains("--format qcow2"), "\(notices)")
        }
        // As a backing file whose format nobody has written down: QEMU would guess.
        let top = folder.path + "/top.qcow2"
        try shell("cd \(folder.path) && qemu-img create -q -f qcow2 -F raw -b disk.raw top.qcow2")
        #expect(Data(try bytes(open(top))).starts(with: evil))
        var header = try Data(contentsOf: URL(fileURLWithPath: top))
        // Older versions of qemu-img wrote no such extension of the header.
        let place = try #require(header.firstRange(of: [0xe2, 0x79, 0x2a, 0xca]))
        header.replaceSubrange(place, with: [1, 2, 3, 4])
        try header.write(to: URL(fileURLWithPath: top))
        #expect(try shell("qemu-io -r -f qcow2 -c 'read -v 0 16' \(top)").contains("secret"), "QEMU guesses")
        let error = failure(top)
        #expect(error.detail.contains("does not say of what format") && error.hint?.contains("rebase") == true)
    }

    @Test func `name and bytes that disagree are said`() throws {
        let folder = try TemporaryFolder()
        try shell("cd \(folder.path) && head -c 1M /dev/zero > a.qcow2 && cp a.qcow2 a.raw")
        #expect(failure(folder.path + "/a.qcow2").hint?.contains("--format raw") == true)
        #expect(try bytes(open(folder.path + "/a.qcow2", .raw)).count == 1 << 20)
        #expect(failure(folder.path + "/a.raw", .vmdk).detail.contains("does not begin like a vmdk"))
        #expect(failure("nbd://127.0.0.1:1/", .qcow2).detail.contains("no file that could be qcow2"))
        #expect(failure(folder.path + "/absent.qcow2").detail.contains("No such file"))
    }

    @Test func `an image that a guest has open, or that is broken, is said in QEMU's words`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img create -q -f qcow2 \(path) 8M")
        let guest = try BlockServer(["qemu-nbd", "--format=qcow2", "--persistent", "--socket=SOCKET", path])
        let error = failure(path)
        #expect(
            error.code == .source && error.detail.contains("lock") && error.hint?.contains("running guest") == true,
            "\(error)")
        guest.end()
        #expect(try bytes(open(path)).count == 8 << 20)
        try shell("printf '\\377\\377' | dd of=\(path) bs=1 seek=20 conv=notrunc status=none")
        #expect(failure(path).detail.contains("cannot be read: "), "\(failure(path))")
        #expect(try leftovers(folder) == "")
    }

    @Test func `a server that dies or stops in the middle is named, and nothing is left of it`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img create -q -f qcow2 \(path) 64M && qemu-io -f qcow2 -c 'write -P 7 0 64M' \(path)")
        for signal in ["KILL", "STOP"] {
            let source = try open(path, patience: .milliseconds(500))
            let sink = CountingSink()
            let error = #expect(throws: EngineError.self) {
                try source.stream(to: sink) { done, _ in
                    if done == 1 << 20 { try shell("pkill -\(signal) -f '[q]emu-nbd.*\(path)'") }
                }
            }
            #expect(error?.detail.contains("cannot be read at ") == true, "\(error!)")
        }
        // The objects of the loop have gone with it, and with them what they started.
        #expect(try leftovers(folder) == "")
    }

    @Test func `an image whose file becomes shorter fails`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img create -q -f qcow2 \(path) 64M && qemu-io -f qcow2 -c 'write -P 7 0 64M' \(path)")
        let source = try open(path)
        let error = #expect(throws: EngineError.self) {
            try source.stream(to: CountingSink()) { done, _ in
                if done == 1 << 20 { truncate(path, 8 << 20) }
            }
        }
        #expect(error?.detail.contains("became shorter") == true, "\(error!)")
    }

    @Test func `qemu-storage-daemon is a server like any other`() throws {
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 6 << 20, pieces: 4, seed: 11)
        try shell("qemu-img convert -f raw -O qcow2 \(image.path) \(folder.path)/a.qcow2")
        let server = try BlockServer([
            "qemu-storage-daemon",
            "--blockdev", "driver=qcow2,node-name=d,read-only=on,file.driver=file,file.filename=\(folder.path)/a.qcow2",
            "--nbd-server", "addr.type=unix,addr.path=SOCKET",
            "--export", "type=nbd,id=e,node-name=d,name=disk",
        ])
        #expect(try bytes(open(server.uri("disk"))) == image.bytes)
    }
}
