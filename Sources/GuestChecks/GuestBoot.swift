package import BackupEngine
internal import Glibc
internal import SystemIO
internal import Workers

/// Starts a disk's image in QEMU and waits for a text on its serial console.
///
/// The image is only read: what the guest writes goes to an overlay in memory that has no name and a cap. There is no network. QEMU runs
/// as nobody behind its own filter of system calls, and ends with us, whatever ends us.
package struct GuestBoot: Sendable {
    package enum Firmware: Sendable, Hashable { case bios, uefi }
    package enum Bus: Sendable, Hashable { case virtio, sata }

    /// The folder that holds the image.
    package var folder: String
    /// The image's name there.
    package var file: String
    package var expected: String
    package var firmware = Firmware.bios
    package var bus = Bus.virtio
    package var memoryByteCount = 1 << 30
    /// Uses KVM where there is one.
    package var allowsKVM = true
    /// How long there may be neither output nor a read of the disk.
    package var patience = Duration.seconds(120)
    /// A guest that panics and prints for ever gets on, too.
    package var limit = Duration.seconds(3600)
    package var isCancelled: @Sendable () -> Bool = { false }
    /// Differs when something was read.
    package var reads: @Sendable () -> UInt64

    package init(folder: String, file: String, expected: String, reads: @escaping @Sendable () -> UInt64) {
        self.folder = folder
        self.file = file
        self.expected = expected
        self.reads = reads
    }

    private static let program = "qemu-system-x86_64"
    private static let overlayByteCount: UInt64 = 1 << 30
    private static let uefiImages = [
        "/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd", "/usr/share/edk2/x64/OVMF.4m.fd",
    ]

    package func run() -> DrillCheck {
        let start = ContinuousClock.now
        let (outcome, detail) = boot()
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return DrillCheck(
            check: "boot", file: file, outcome: outcome,
            milliseconds: seconds * 1000 + attoseconds / 1_000_000_000_000_000, detail: detail)
    }

    private func boot() -> (DrillCheck.Outcome, String) {
        guard let program = ChildProcess.find(Self.program) else {
            return (.notChecked, "\(Self.program) is not installed")
        }
        var image: String?
        if firmware == .uefi {
            image = Self.uefiImages.first { access($0, R_OK) == 0 }
            guard image != nil else { return (.notChecked, "OVMF, the UEFI firmware, is not installed") }
        }
        do {
            let memory = try MemoryFolder()
            // As QEMU will see it: it opens this before it becomes nobody.
            let hasKVM = allowsKVM && access("/dev/kvm", R_OK | W_OK) == 0
            var result = try attempt(program, firmware: image, memory, usesKVM: hasKVM)
            if hasKVM, result == nil { result = try attempt(program, firmware: image, memory, usesKVM: false) }
            return result ?? (.bad, "QEMU failed")
        } catch {
            return (.notChecked, "\(error)")
        }
    }

    /// nil where KVM may be why QEMU itself failed: nested ones lack instructions and registers.
    private func attempt(
        _ program: String, firmware image: String?, _ memory: borrowing MemoryFolder, usesKVM: Bool
    ) throws -> (DrillCheck.Outcome, String)? {
        var tail = OutputTail()
        var search = TextSearch(expected)
        var trouble = TextSearch("KVM internal error")
        var isTroubled = false
        let overlay = min(Self.overlayByteCount, memory.availableByteCount / 2)
        var child = ChildProcess(
            path: "/usr/bin/prlimit",
            arguments: Self.guarded(program, arguments(firmware: image, usesKVM: usesKVM), overlayByteCount: overlay),
            environment: ["TMPDIR": memory.path], folder: folder, patience: patience, limit: limit)
        child.isCancelled = isCancelled
        let reads = reads
        let ending = try child.run(
            output: { bytes in
                tail.append(bytes)
                isTroubled = usesKVM && trouble.finds(in: bytes)
                return !isTroubled && !search.finds(in: bytes)
            }, progress: { _ in reads() })
        // QEMU stops the guest then and stays.
        if isTroubled { return nil }
        let how = usesKVM ? "KVM" : "TCG"
        switch ending {
        case .stopped: return (.good, "with \(how)")
        // With -no-reboot the end of the guest is QEMU's, and no failure.
        case .exited(code: 0): return (.bad, "the guest stopped or reset itself (\(how)): \(tail.lastLines(3))")
        case .exited, .signalled: return usesKVM ? nil : (.bad, "QEMU failed: \(tail.lastLines(3))")
        case .stalled: return (.bad, "no output and no read for \(patience) (\(how)): \(tail.lastLines(3))")
        case .tookTooLong: return (.bad, "not there after \(limit) (\(how)): \(tail.lastLines(3))")
        case .cancelled: return (.notChecked, "cancelled")
        }
    }

    private func arguments(firmware image: String?, usesKVM: Bool) -> [String] {
        var words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]
        words += ["-serial", "stdio", "-machine", "q35", "-accel", usesKVM ? "kvm" : "tcg"]
        // All that there is, but a register that nested KVM cannot set.
        words += ["-cpu", "max,arch-capabilities=off", "-smp", "\(min(2, WorkerPool.processorCount))"]
        words += ["-m", "\(memoryByteCount >> 20)M"]
        if let image { words += ["-bios", image] }
        // In QEMU's options a comma is written twice. The path is relative: nothing before a colon is taken for a protocol.
        let path = "./" + file.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
        // snapshot: an overlay in TMPDIR, unlinked as soon as it is open.
        words += ["-drive", "file=\(path),if=none,id=disk,format=raw,snapshot=on"]
        let device = bus == .virtio ? "virtio-blk-pci" : "ide-hd,bus=ide.0"
        words += ["-device", device + ",drive=disk,bootindex=0"]
        let isRoot = geteuid() == 0
        // Root becomes nobody when everything is open; elevateprivileges would forbid that.
        if isRoot { words += ["-runas", "nobody"] }
        let filter = "on,obsolete=deny,spawn=deny,resourcecontrol=deny"
        return words + ["-sandbox", isRoot ? filter : filter + ",elevateprivileges=deny"]
    }

    /// Arguments of prlimit(1). Becoming nobody clears a process's wish to end with its parent, so a shell has that wish, which the
    /// kernel tells by SIGTERM, and ends QEMU.
    private static func guarded(_ program: String, _ arguments: [String], overlayByteCount: UInt64) -> [String] {
        var words = ["--fsize=\(overlayByteCount)", "--core=0", "--", "/usr/bin/setpriv", "--no-new-privs"]
        words += ["--pdeathsig", "TERM"]
        // To become nobody, and to end who is.
        if geteuid() == 0 { words += ["--inh-caps=-all", "--bounding-set=-all,+setuid,+setgid,+kill"] }
        let script = """
            [ "$PPID" = "$1" ] || exit 1
            shift
            trap 'kill -KILL $! 2>/dev/null; exit 143' TERM
            "$@" & wait $!
            """
        return words + ["--", "/bin/sh", "-c", script, "sh", "\(getpid())", program] + arguments
    }
}

/// Finds a text in what comes piece by piece.
struct TextSearch {
    private let text: [UInt8]
    /// As much of the end as could be the start of the text.
    private var held: [UInt8] = []

    init(_ text: String) { self.text = Array(text.utf8) }

    mutating func finds(in bytes: UnsafeRawBufferPointer) -> Bool {
        held += bytes
        if held.firstRange(of: text) != nil { return true }
        held.removeFirst(max(0, held.count - max(0, text.count - 1)))
        return false
    }
}
