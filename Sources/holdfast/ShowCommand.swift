internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import CryptoPrimitives
internal import Foundation
internal import Manifest

struct ShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the verified manifest of a backup.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String
    @Flag(help: "Print the manifest as JSON.") var json = false

    func run() throws {
        try common.withEngine { engine, _ in
            let identifier = try engine.find(name)
            guard let record = try engine.catalog.access(identifier) else {
                throw EngineError(.notFound, "there is no backup \(identifier)")
            }
            let verified = try engine.manifest(of: record)
            let checks = try engine.catalog.checks(identifier)
            let lockEnd = try engine.catalog.backup(identifier)?.lockEnd
            if json { return StandardStream.output.write(try verified.shown(checks, lockedUntil: lockEnd)) }
            let manifest = verified.manifest
            var text = """
                backup        \(identifier)
                raw           \(manifest.rawByteCount) bytes (\(readableSize(manifest.rawByteCount)))
                data          \(record.dataByteCount) bytes (\(readableSize(record.dataByteCount)))
                archive       \(manifest.archiveByteCount) bytes (\(readableSize(manifest.archiveByteCount)))
                raw sha256    \(manifest.rawSHA256)
                arch. sha256  \(manifest.archiveSHA256)
                frames        \(manifest.frameByteCount) bytes, zstd level \(manifest.zstdLevel)
                consistency   \(manifest.consistency)
                made by       \(manifest.toolVersion)

                """
            if let lockEnd { text += "locked until  \(lockEnd)\n" }
            for recipient in manifest.recipients { text += "recipient     \(recipient)\n" }
            for partition in manifest.partitions {
                text +=
                    "partition \(partition.number)   \(readableSize(partition.byteCount)) at \(partition.rawOffset) \(partition.name)\n"
            }
            for check in checks {
                let depth = check.depth.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
                text += "check \(depth)  \(check.outcome) \(BackupDate(secondsSince1970: check.checkedAt))\n"
                if !check.isGood { text += "              \(check.detail)\n" }
            }
            let damage = try engine.catalog.damage(identifier).map {
                ArchiveDamage(archiveRange: $0.archiveRange, frame: $0.frame, rawRange: $0.rawRange, detail: $0.detail)
            }
            for lost in LostRange.list(of: damage, manifest.partitions) { text += "lost          \(lost.described)\n" }
            StandardStream.output.write(text)
        }
    }
}
