import BackupEngine
import BackupNames
import Foundation
import Glibc
import Logging
import SystemIO
import TestSupport
import Testing

@testable import GuestSources

@Suite("Names and places of a guest's backup", .timeLimit(.minutes(1)))
struct GuestNamesAndOverlayTests {
    @Test func `a name says whose it is, fits into a node's name, and is dead with its backup`() throws {
        let token = GuestToken.begin()
        let other = GuestToken.begin()
        #expect(token != other && token.isAlive && other.isAlive)
        for role in GuestToken.Role.allCases {
            let name = token.name(role)
            #expect(name.utf8.count <= 31, "\(name)")
            let parsed = try #require(GuestToken.parse(name))
            #expect(parsed.token == token && parsed.role == role && parsed.token.isAlive)
        }
        #expect(GuestToken(token.text) == token)
        token.end()
        #expect(!token.isAlive && other.isAlive)
        other.end()
        // The highest process id of Linux (proc_sys_kernel(5)), 24 years after the boot.
        let longest = "holdfast-2hwcg-zzzzzzz-ffffzzo"
        #expect(longest.utf8.count <= 31 && GuestToken.parse(longest)?.token.isAlive == false)
        for name in [
            "", "holdfast", "holdfast-", "holdfast-1-1-abcd0", "holdfast-1-1-abcd00x", "libvirt-1-format",
            "holdfast--1-abcd00o",
        ] {
            #expect(GuestToken.parse(name) == nil, "\(name)")
        }
        let parent = try #require(ProcessStat.read(process: getppid()))
        let boot = ProcessIdentity.current.bootIdentifier.prefix(4)
        let living = "holdfast-\(String(getppid(), radix: 36))-\(String(parent.startTicks, radix: 36))-\(boot)00o"
        #expect(GuestToken.parse(living)?.token.isAlive == true)
    }

    @Test(arguments: [512, 1 << 20, (512 << 20) + 512, 100 << 30, 16 << 40] as [UInt64])
    func `an overlay is an image that QEMU finds sound, and takes no more than it may`(byteCount: UInt64) throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/overlay"
        try Data(FleecingOverlay.emptyImage(byteCount)).write(to: URL(fileURLWithPath: path))
        #expect(try shell("qemu-img check -f qcow2 \(path)").contains("No errors were found"))
        let facts = try shell("qemu-img info --output=json \(path) | jq '.[\"virtual-size\"]'")
        #expect(facts == "\(byteCount)\n")
        try shell("qemu-io -f qcow2 -c 'write -P 3 0 512' -c 'write -P 4 \(byteCount - 512) 512' \(path)")
        #expect(try shell("qemu-img check -f qcow2 \(path)").contains("No errors were found"))
        // In a file of a fixed length it gets ENOSPC, as in QEMU below a guest.
        guard byteCount >= 64 << 20 else { return }
        try shell("truncate -s 16M \(path)")
        let output = try shell(
            "qemu-io --image-opts -c 'write -P 5 0 64M' driver=qcow2,file.driver=raw,file.size=16777216,file.file.driver=file,file.file.filename=\(path) 2>&1 || true"
        )
        #expect(output.contains("No space left on device"), "\(output)")
        #expect(try FileFacts.of(path).byteCount == 16 << 20)
    }

    @Test func `an overlay that could hold nothing is refused`() throws {
        let overlay = try FleecingOverlay(imageByteCount: 1 << 40, byteCount: 64 << 20)
        #expect(overlay.byteCount == 64 << 20 && !overlay.isFull)
        #expect(try FleecingOverlay(imageByteCount: 1 << 30, byteCount: nil).byteCount <= 1 << 30)
        #expect(throws: EngineError.self) {
            _ = try FleecingOverlay(imageByteCount: 1024 << 40, byteCount: 16 << 20)
        }
    }

    @Test func `a note that is none, or of a living backup, is left alone`() throws {
        let folder = try TemporaryFolder()
        let journal = GuestJournal(path: folder.path + "/guests")
        let token = GuestToken.begin()
        defer { token.end() }
        let note = GuestJournal.Note(socket: folder.path + "/absent", frozenAgent: nil)
        try journal.write(note, token)
        try Data("{".utf8).write(to: URL(fileURLWithPath: journal.path + "/holdfast-1-1-000000.json"))
        #expect(journal.notes().map(\.note) == [note])
        let sources = GuestSources(stateDirectory: folder.path, log: .init(label: "test"))
        sources.cleanUpAfterCrash()
        #expect(journal.notes().map(\.note) == [note])
        // With its guest all of it has gone.
        let dead = try #require(GuestToken("holdfast-1-1-000001"))
        try journal.write(note, dead)
        sources.cleanUpAfterCrash()
        #expect(journal.notes().map(\.token) == [token])
    }
}
