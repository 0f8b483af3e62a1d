import BackupEngine
import Foundation
import SystemIO
import Testing

@testable import GuestChecks

/// A disk whose boot sector, real-mode code, writes a text to COM1 and then does what `ending` says.
func bootSector(writing text: String, ending: [UInt8] = [0xf4, 0xeb, 0xfd]) -> [UInt8] {
    /// mov dx, port; mov al, value; out dx, al
    func out(_ port: UInt16, _ value: UInt8) -> [UInt8] {
        [0xba, UInt8(port & 0xff), UInt8(port >> 8), 0xb0, value, 0xee]
    }
    // cli; ds = 0; 115200 baud, eight bits: the divisor latch of the 16550 at 0x3f8 is open while bit 7 of 0x3fb is set.
    var code: [UInt8] = [0xfa, 0x31, 0xc0, 0x8e, 0xd8]
    code += out(0x3f9, 0) + out(0x3fb, 0x80) + out(0x3f8, 1) + out(0x3f9, 0) + out(0x3fb, 3)
    let loop: [UInt8] = [
        0xac, 0x84, 0xc0, 0x74, 0x12,  // lodsb; test al, al; jz to the end
        0x88, 0xc4, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb,  // wait until the transmitter is empty
        0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9,  // out; again
    ]
    let place = UInt16(0x7c00 + code.count + 3 + loop.count + ending.count)
    code += [0xbe, UInt8(place & 0xff), UInt8(place >> 8)] + loop + ending + Array(text.utf8) + [0]
    precondition(code.count <= 446)
    var disk = code + [UInt8](repeating: 0, count: (1 << 20) - code.count)
    // One active partition, for a table that says nothing is refused by some firmware.
    disk.replaceSubrange(446..<462, with: [0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0xff, 7, 0, 0])
    disk.replaceSubrange(510..<512, with: [0x55, 0xaa])
    return disk
}

@Suite(
    "Booting a disk", .serialized, .timeLimit(.minutes(2)),
    .enabled(if: ChildProcess.find("qemu-system-x86_64") != nil, "QEMU is not installed"))
struct GuestBootTests {
    private static let halt: [UInt8] = [0xf4, 0xeb, 0xfd]
    /// Writes to port 0xcf9: a reset.
    private static let reset: [UInt8] = [0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4]

    private func boot(
        _ disk: [UInt8], expecting text: String = "holdfast-ok", name: String = "disk.raw",
        _ change: (inout GuestBoot) -> Void = { _ in }
    ) throws -> DrillCheck {
        let folder = NSTemporaryDirectory() + "holdfast-boot-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data(disk).write(to: URL(fileURLWithPath: folder + "/" + name))
        var guest = GuestBoot(folder: folder, file: name, expected: text, reads: { 0 })
        guest.memoryByteCount = 64 << 20
        // Emulated, a BIOS takes half a second; nested KVM may take ten for its real mode.
        guest.allowsKVM = false
        guest.patience = .seconds(30)
        change(&guest)
        let check = guest.run()
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name)) == Data(disk), "only read")
        #expect(leftovers == [])
        return check
    }

    private var leftovers: [String] {
        let prefix = "holdfast-boot-\(getpid())-"
        return ((try? FileManager.default.contentsOfDirectory(atPath: "/dev/shm")) ?? []).filter {
            $0.hasPrefix(prefix)
        }
    }

    @Test(arguments: [GuestBoot.Bus.virtio, .sata])
    func `a disk that says what is expected has booted`(bus: GuestBoot.Bus) throws {
        let check = try boot(bootSector(writing: "starting\r\nholdfast-ok\n")) { $0.bus = bus }
        #expect(check.outcome == .good && check.check == "boot" && check.file == "disk.raw", "\(check)")
        #expect(check.detail == "with TCG" && check.milliseconds > 0)
    }

    @Test func `a disk boots with whatever this machine has, KVM or not`() throws {
        let check = try boot(bootSector(writing: "holdfast-ok\n")) {
            $0.allowsKVM = true
            $0.patience = .seconds(60)
        }
        #expect(check.outcome == .good, "\(check)")
    }

    @Test func `the name of a disk is no option of QEMU`() throws {
        #expect(try boot(bootSector(writing: "holdfast-ok"), name: "a,b=c,if=none.raw").outcome == .good)
    }

    @Test func `a guest that gets no further without saying it fails, and what it said last is told`() throws {
        let start = ContinuousClock.now
        let silent = try boot(bootSector(writing: "")) { $0.patience = .seconds(4) }
        #expect(silent.outcome == .bad && silent.detail.contains("no output and no read for 4.0 seconds"), "\(silent)")
        #expect(ContinuousClock.now - start < .seconds(60))
        let other = try boot(bootSector(writing: "kernel panic\n")) { $0.patience = .seconds(4) }
        #expect(other.outcome == .bad && other.detail.contains("kernel panic"), "\(other)")
    }

    @Test func `a guest that resets itself, and one that writes for ever, have not booted`() throws {
        let reset = try boot(bootSector(writing: "oops\n", ending: Self.reset))
        #expect(reset.outcome == .bad && reset.detail.contains("stopped or reset itself"), "\(reset)")
        // Back to the boot sector's start.
        let loop = try boot(bootSector(writing: "again\n", ending: [0xea, 0x00, 0x7c, 0x00, 0x00])) {
            $0.limit = .seconds(8)
        }
        #expect(
            loop.outcome == .bad && loop.detail.contains("not there after") && loop.detail.contains("again"), "\(loop)")
    }

    @Test func `one that is no boot disk fails`() throws {
        let check = try boot([UInt8](repeating: 0, count: 1 << 20)) { $0.patience = .seconds(4) }
        #expect(check.outcome == .bad, "\(check)")
    }

    @Test func `a boot that is cancelled ends`() throws {
        let check = try boot(bootSector(writing: "")) { $0.isCancelled = { true } }
        #expect(check.outcome == .notChecked && check.detail == "cancelled")
    }

    @Test(.enabled(if: access("/usr/share/ovmf/OVMF.fd", R_OK) == 0, "OVMF is not installed"))
    func `a guest with UEFI starts its firmware, whose words can be waited for`() throws {
        let check = try boot([UInt8](repeating: 0, count: 1 << 20), expecting: "BdsDxe") {
            $0.firmware = .uefi
            $0.memoryByteCount = 256 << 20
            $0.patience = .seconds(60)
        }
        #expect(check.outcome == .good, "\(check)")
    }

    @Test func `a text is found however it is cut`() {
        for step in 1...7 {
            var search = TextSearch("needle")
            let bytes = Array("hay needneedle stack".utf8)
            var found: Int?
            for start in stride(from: 0, to: bytes.count, by: step) {
                let part = bytes[start..<min(start + step, bytes.count)]
                if Array(part).withUnsafeBytes({ search.finds(in: $0) }), found == nil { found = start + step }
            }
            #expect(found.map { (14..<14 + step).contains($0) } == true, "steps of \(step): \(found ?? -1)")
        }
    }
}
