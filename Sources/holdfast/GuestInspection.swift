internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import Daemon
internal import DiskImage
internal import GuestChecks
internal import Manifest
internal import Synchronization

/// Whether somebody has asked for our end. Set by a signal, looked at by whatever takes long.
final class Cancellation: Sendable {
    private let flag = Atomic<Bool>(false)

    var isCancelled: Bool { flag.load(ordering: .relaxed) }

    func cancel() { flag.store(true, ordering: .relaxed) }

    func check() throws(EngineError) {
        if isCancelled { throw EngineError(.cancelled, "cancelled") }
    }
}

/// What a drill looks at in a restored disk, through a mount of its own: nothing decrypted gets to a disk of ours.
struct GuestInspection {
    let checksFileSystems: Bool
    let boot: BootOptions
    let configuration: Configuration
    let cancellation: Cancellation

    /// What was asked for one disk by name must not be left out because the configuration says nothing of it.
    func checkIsPossible(_ identifier: BackupIdentifier) throws {
        guard boot.boot, boot.guestBoot(of: identifier, in: "", configuration, reads: { 0 }) == nil else { return }
        throw ValidationError("--boot waits for a text: --expect TEXT, or `expect` in [drills] of the configuration")
    }

    func run(_ identifier: BackupIdentifier, _ engine: Engine) throws(EngineError) -> [DrillCheck] {
        guard checksFileSystems || boot.boot else { return [] }
        let mount: PrivateMount
        do {
            mount = try PrivateMount(engine, in: configuration.stateDirectory + "/run")
        } catch {
            throw EngineError(.target, "the backup cannot be looked into: \(error)", cause: error)
        }
        var checks: [DrillCheck] = []
        if checksFileSystems { checks += try checkFileSystems(identifier, engine, mount) }
        if boot.boot { checks.append(try boot(identifier, mount)) }
        return checks
    }

    private func boot(_ identifier: BackupIdentifier, _ mount: PrivateMount) throws(EngineError) -> DrillCheck {
        func notChecked(_ reason: String) -> DrillCheck {
            DrillCheck(
                check: "boot", file: "\(identifier.disk).raw", outcome: .notChecked, milliseconds: 0, detail: reason)
        }
        guard "\(identifier.disk)" == "disk" else { return notChecked("not the root disk") }
        let folder = mount.path(of: identifier)
        guard var guest = boot.guestBoot(of: identifier, in: folder, configuration, reads: mount.readCount) else {
            return notChecked("the configuration does not tell what to expect of it")
        }
        guest.isCancelled = { [cancellation] in cancellation.isCancelled }
        let check = guest.run()
        try cancellation.check()
        return check
    }

    private func checkFileSystems(
        _ identifier: BackupIdentifier, _ engine: Engine, _ mount: PrivateMount
    ) throws(EngineError) -> [DrillCheck] {
        let backup = try engine.open(identifier)
        let name = "\(identifier.disk).raw"
        var ranges = [name: 0..<backup.manifest.rawByteCount]
        var files = [name]
        if !backup.manifest.partitions.isEmpty {
            files = backup.manifest.partitions.map { "\(name).p\($0.number)" }
            ranges = Dictionary(
                uniqueKeysWithValues: zip(
                    files, backup.manifest.partitions.map { $0.rawOffset..<$0.rawOffset + $0.byteCount }))
        }
        let check = FileSystemCheck(
            in: mount.path(of: identifier), isCancelled: { [cancellation] in cancellation.isCancelled },
            head: { file in
                guard let range = ranges[file] else {
                    preconditionFailure("internal error: a file that was not asked for")
                }
                var head = [UInt8](repeating: 0, count: Int(min(UInt64(ImageHead.byteCount), UInt64(range.count))))
                try head.withUnsafeMutableBytes {
                    try RawReader(reader: backup.reader).read(at: range.lowerBound, into: $0)
                }
                return head
            }, reads: mount.readCount)
        var checks: [DrillCheck] = []
        for file in files {
            checks.append(check.run(file))
            try cancellation.check()
        }
        return checks
    }
}
