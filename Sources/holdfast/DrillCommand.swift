internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import Foundation

struct DrillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Restore a backup to nowhere, measure it, and write down how long it took.",
        discussion: """
            The archive is fetched from its backend, decrypted, decompressed, and the hash of the image checked. The newest drill \
            of a disk that went well is its RTO in `holdfast status`.

            With --scratch the image is also written to a file in a folder. It is not encrypted there; it has no name, and is \
            gone when the drill ends, however it ends.

            --check fs has e2fsck, xfs_repair, btrfs check, ntfsfix, fsck.vfat or fsck.exfat look at each partition, without writing, through a mount \
            of this command's own. A file system that was mounted when the backup was made `needs recovery`, as after a power cut.

            --boot starts the disk in QEMU, with KVM where it can be used. What the guest writes stays in memory; it has no network. The \
            drill fails when the text (--expect, or `expect` in [drills] of the configuration, also for an org and a vm) does not come \
            before the guest gets no further.

            --due takes the newest backup of each disk whose last good drill is older than `every` in [drills] of the \
            configuration (30 days; an org can have its own), and of each that never had one.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String?
    @Option(help: "The newest backup of each disk of this org.") var org: String?
    @Flag(help: "The newest backup of each disk whose drill is due, those not tried for longest first.") var due = false
    @Option(help: "At most so many drills.") var limit: Int?
    @Option(help: "A folder to write the image to; it is removed afterwards.") var scratch: String?
    @Option(help: "How much data the image in that folder may have, such as 100GiB.") var cap: String?
    @Option(help: "Also look at what was restored; fs: the file systems, by their own read-only checkers.")
    var check: [Inspection] = []
    @OptionGroup var boot: BootOptions
    @Flag(help: "Print the results as JSON.") var json = false

    enum Inspection: String, ExpressibleByArgument, CaseIterable { case fs }

    /// Of a drill that found something wrong in what was restored rightly.
    static let findingExitCode = ExitCode(21)

    func validate() throws {
        guard [name != nil, org != nil, due].count(where: { $0 }) == 1 else {
            throw ValidationError("name a backup, or --org, or --due")
        }
        guard limit.map({ $0 > 0 }) ?? true else { throw ValidationError("--limit must be more than 0") }
        guard (scratch == nil) == (cap == nil) else { throw ValidationError("--scratch and --cap go together") }
        if let cap, SizeText.byteCount(cap) == nil { throw ValidationError("--cap must be a size such as 100GiB") }
    }

    func run() throws {
        let cancellation = Cancellation()
        // Before any other thread: a mount and a child of ours are not left behind.
        if !check.isEmpty || boot.boot { EndingSignals().setHandler { _ in cancellation.cancel() } }
        let outcome = try common.withEngine(changesCatalog: true) { engine, configuration in
            let inspection = GuestInspection(
                checksFileSystems: check.contains(.fs), boot: boot, configuration: configuration,
                cancellation: cancellation)
            var drills = Drills(target: target, inspection: inspection, isQuiet: json)
            for identifier in try chosen(engine, configuration).prefix(limit ?? .max) {
                if name != nil { try inspection.checkIsPossible(identifier) }
                drills.run(identifier, engine)
                try cancellation.check()
            }
            if json { try printJSON(drills.reports.map(DrillResult.init)) }
            if drills.reports.isEmpty, drills.failure == nil, !json { StandardStream.output.write("no drill is due\n") }
            return drills
        }
        if let failure = outcome.failure { throw failure }
        if outcome.hasFinding { throw Self.findingExitCode }
    }

    private var target: DrillTarget {
        guard let scratch, let cap = cap.flatMap({ SizeText.byteCount($0) }) else { return .null }
        return .scratch(folder: scratch, capByteCount: UInt64(cap))
    }

    private func chosen(_ engine: Engine, _ configuration: Configuration) throws -> [BackupIdentifier] {
        if let name { return [try engine.find(name)] }
        if let org {
            let found = try engine.newestBackups(of: ResourceName(org))
            guard !found.isEmpty else { throw EngineError(.notFound, "there is no backup of org \"\(org)\"") }
            return found
        }
        return try engine.dueDrills { configuration.drills(org: $0).every?.seconds }
    }
}

/// Drills one after another: one that fails keeps no other from its turn.
private struct Drills {
    let target: DrillTarget
    let inspection: GuestInspection
    /// Results are printed at the end, not as they come.
    let isQuiet: Bool
    var reports: [DrillReport] = []
    /// The first failure, which is thrown at the end; others are told at once.
    var failure: EngineError?
    var hasFinding = false

    mutating func run(_ identifier: BackupIdentifier, _ engine: Engine) {
        let line = ProgressLine()
        do throws(EngineError) {
            let report = try engine.drill(
                identifier, to: target,
                checks: { identifier throws(EngineError) in
                    line.end()
                    return try inspection.run(identifier, engine)
                },
                progress: { done, total in
                    try inspection.cancellation.check()
                    line.show("drill", done, total)
                })
            line.end()
            reports.append(report)
            if !isQuiet { StandardStream.output.write(DrillResult(report).text) }
            if let failure = report.failure { throw failure }
            if !report.record.isGood { hasFinding = true }
        } catch {
            line.end()
            if failure != nil { ErrorReport(error)?.print() }
            failure = failure ?? error
        }
    }
}

/// A drill as it is printed.
struct DrillResult: Encodable {
    struct Phases: Encodable {
        let open_ms: Int64
        let fetch_ms: Int64
        let decode_ms: Int64
        let write_ms: Int64
    }

    let backup: String
    let result: String
    let detail: String
    let raw_size: UInt64
    let fetched_size: UInt64
    let total_ms: Int64
    let phases: Phases
    let bytes_per_second: UInt64?
    let checks: [DrillCheck]

    init(_ report: DrillReport) {
        let record = report.record
        backup = "\(record.identifier)"
        result = record.outcome
        detail = record.detail
        raw_size = record.rawByteCount
        fetched_size = record.fetchedByteCount
        total_ms = record.totalMilliseconds
        phases = Phases(
            open_ms: record.openMilliseconds, fetch_ms: record.fetchMilliseconds, decode_ms: record.decodeMilliseconds,
            write_ms: record.writeMilliseconds)
        bytes_per_second =
            report.failure == nil
            ? RecoveryFigures.bytesPerSecond([
                RecoveryFigures.Sample(rawByteCount: record.rawByteCount, milliseconds: record.totalMilliseconds)
            ]).map { UInt64($0) } : nil
        checks = report.checks
    }

    var text: String {
        var text = """
            drilled     \(backup)
            result      \(result)\(detail.isEmpty ? "" : ": \(detail)")
            raw         \(readableSize(raw_size)) in \(readableDuration(total_ms))
            """
        if let bytes_per_second { text += ", \(readableSize(bytes_per_second))/s" }
        text += """

            fetched     \(readableSize(fetched_size))
            busy        open \(readableDuration(phases.open_ms)), fetch \(readableDuration(phases.fetch_ms)), \
            decode \(readableDuration(phases.decode_ms)), write \(readableDuration(phases.write_ms))

            """
        for check in checks {
            text += "check       \(check.check) of \(check.file): \(check.outcome.rawValue)"
            text += " in \(readableDuration(check.milliseconds))\(check.detail.isEmpty ? "" : ": \(check.detail)")\n"
        }
        return text
    }
}
