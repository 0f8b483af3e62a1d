internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import GuestChecks

/// How a drill boots what it has restored. What is not said here is told by [drills] of the configuration.
struct BootOptions: ParsableArguments {
    @Flag(help: "Also boot the disk in QEMU, without a network, and wait for a text on its serial console.") var boot =
        false
    @Option(help: "What a guest that has booted writes to its serial console.") var expect: String?
    @Option(help: "The firmware of the guest: bios or uefi.") var firmware: Configuration.Drills.Firmware?
    @Option(help: "How the guest sees its disk: virtio or sata.") var bus: Configuration.Drills.Bus?
    @Option(help: "The guest's memory, such as 2GiB.") var memory: String?
    @Option(help: "How long the guest may neither write to its console nor read its disk, such as 5m.")
    var bootPatience = "120s"

    func validate() throws {
        if let memory, SizeText.byteCount(memory).map({ $0 >= 16 << 20 }) != true {
            throw ValidationError("--memory must be a size such as 2GiB")
        }
        guard DurationText.seconds(bootPatience) != nil else {
            throw ValidationError("--boot-patience must be a length of time such as 120s")
        }
        guard expect.map({ !$0.isEmpty }) ?? true else { throw ValidationError("--expect is empty") }
    }

    /// nil where nothing tells what to wait for.
    func guestBoot(
        of identifier: BackupIdentifier, in folder: String, _ configuration: Configuration,
        reads: @escaping @Sendable () -> UInt64
    ) -> GuestBoot? {
        let settings = configuration.drills(org: identifier.org, vm: identifier.vm)
        guard let expected = expect ?? settings.expect else { return nil }
        var guest = GuestBoot(folder: folder, file: "\(identifier.disk).raw", expected: expected, reads: reads)
        guest.firmware = (firmware ?? settings.firmware) == .uefi ? .uefi : .bios
        guest.bus = (bus ?? settings.bus) == .sata ? .sata : .virtio
        guest.memoryByteCount = memory.flatMap { SizeText.byteCount($0) } ?? settings.memoryByteCount ?? 1 << 30
        guest.patience = .seconds(DurationText.seconds(bootPatience) ?? 120)
        return guest
    }
}

extension Configuration.Drills.Firmware: ExpressibleByArgument {}
extension Configuration.Drills.Bus: ExpressibleByArgument {}
