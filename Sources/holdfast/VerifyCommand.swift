internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import CryptoPrimitives

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check backups, from a look at what is there down to the hash of the disk.",
        discussion: """
            Each finding names the place in the archive and the raw bytes that it costs. What was found, and when, is \
            remembered: `list`, `show`, `status` and the mount tell it. With --repair an archive that is damaged is written \
            anew from what it and its replicas have, and a sidecar from the catalog.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "Backups, [BACKEND:]ORG/VM/DATE[/DISK] with DATE perhaps latest, or the start of their names.")
    var names: [String] = []
    @Flag(help: "Every backup.") var all = false
    @Flag(help: "Only whether archive and sidecar are there: size, and the sidecar's MAC. Two small requests each.")
    var presence = false
    @Flag(help: "Also the hash of the archive, which is fetched: needs no key.") var archive = false
    @Flag(help: "Also every frame, and the hash of the disk. This is what is done unless said otherwise.") var raw =
        false
    @Flag(
        help: "Put the good bytes back where something is wrong, from replicas and the catalog. Needs a key that reads."
    )
    var repair = false
    @Option(
        help: ArgumentHelp(
            "Check only what is due at this rate, such as 14%/day: oldest check first, and some frames at random.",
            valueName: "rate"))
    var sample: String?
    @Option(help: "With --sample: the most that is fetched in a day, such as 50GiB.") var egress: String?
    @Flag(help: "Print the result as JSON: an object for one name, a list for patterns.") var json = false

    func validate() throws {
        if let sample, ScrubRate(sample) == nil {
            throw ValidationError("--sample wants a rate above 0 and up to 100 %, such as 14%/day")
        }
        guard egress == nil || sample != nil else { throw ValidationError("--egress goes with --sample") }
        if let egress, SizeText.byteCount(egress) == nil {
            throw ValidationError("--egress wants a size, such as 50GiB")
        }
        guard sample == nil || !repair else { throw ValidationError("--repair goes without --sample") }
        guard sample == nil || !presence else { throw ValidationError("--sample goes with --archive or --raw") }
        guard all || !names.isEmpty || sample != nil else { throw ValidationError("name a backup, or say --all") }
        guard !all || names.isEmpty else { throw ValidationError("--all goes without names") }
        guard [presence, archive, raw].count(where: { $0 }) <= 1 else {
            throw ValidationError("--presence, --archive and --raw exclude each other")
        }
    }

    private var depth: CheckDepth { presence ? .presence : archive ? .archive : .raw }

    func run() throws {
        if let sample, let rate = ScrubRate(sample) { return try scrub(rate) }
        let failure: EngineError? = try common.withEngine(changesCatalog: true) { engine, _ in
            let identifiers =
                try names.count == 1 && isOneName ? [engine.find(names[0])] : engine.select(names)
            let line = ProgressLine()
            defer { line.end() }
            var reports: [CheckReport] = []
            var repaired: [BackupIdentifier: String] = [:]
            var first: EngineError?
            for (index, identifier) in identifiers.enumerated() {
                let phase = identifiers.count == 1 ? "verify" : "verify \(index + 1)/\(identifiers.count)"
                do throws(EngineError) {
                    let report = try engine.check(identifier, depth) { line.show(phase, $0, $1) }
                    line.end()
                    reports.append(report)
                    if !json { show(report, engine) }
                    guard let finding = report.findings.first else { continue }
                    guard repair else {
                        first = first ?? finding.error
                        continue
                    }
                    let result = try engine.repair(report) { line.show("repair", $0, $1) }
                    line.end()
                    repaired[identifier] = result.what
                    if !json { show(result, identifier) }
                } catch {
                    line.end()
                    // The first one is told at the end, with the exit code.
                    if first != nil { ErrorReport(error)?.print() }
                    first = first ?? error
                }
            }
            if json { try printReports(reports, engine, repaired) }
            return first
        }
        if let failure { throw failure }
    }

    private var isOneName: Bool { (try? BackupPattern(names[0])) != nil }

    /// What is due.
    private func scrub(_ rate: ScrubRate) throws {
        let failure: EngineError? = try common.withEngine(changesCatalog: true) { engine, _ in
            let line = ProgressLine()
            defer { line.end() }
            var random = SystemRandomNumberGenerator()
            let result = try engine.scrub(
                Set(engine.select(names)), rate, egressPerDay: egress.flatMap(SizeText.byteCount).map { UInt64($0) },
                depth: depth,
                random: &random
            ) {
                line.show("verify \($0.vm)", $1, $2)
            } report: { report in
                line.end()
                if !json { show(report, engine) }
            }
            line.end()
            for failure in result.failures.dropFirst() { ErrorReport(failure.error)?.print() }
            for identifier in result.tooLarge {
                StandardStream.error.write("warning: \(identifier) is larger than --egress and is never checked\n")
            }
            if json {
                try printReports(result.reports, engine)
            } else {
                StandardStream.output.write(
                    "scrubbed    \(result.reports.count) archives, \(result.sampledFrames) frames at random, "
                        + "\(readableSize(result.fetchedByteCount)) fetched; \(result.leftCount) are not due\n")
            }
            return result.reports.lazy.compactMap(\.findings.first?.error).first ?? result.failures.first?.error
        }
        if let failure { throw failure }
    }

    // MARK: Output

    private func show(_ report: CheckReport, _ engine: Engine) {
        guard !report.isGood else {
            var text = "verified    \(report.identifier)\n"
            if let digest = report.archiveSHA256 {
                text += "archive     \(readableSize(report.archiveByteCount)), sha256 \(digest)\n"
            } else {
                text += "archive     \(readableSize(report.archiveByteCount)), present with its sidecar\n"
            }
            if let digest = report.rawSHA256 {
                text += "raw         \(readableSize(report.rawByteCount)), sha256 \(digest)\n"
            }
            return StandardStream.output.write(text)
        }
        var text = "BAD         \(report.identifier)\n"
        let shown = 50
        for finding in report.findings.prefix(shown) { text += "finding     \(finding.error.detail)\n" }
        if report.findings.count > shown { text += "finding     and \(report.findings.count - shown) more\n" }
        for lost in report.lost(engine) { text += "lost        \(lost.described)\n" }
        StandardStream.output.write(text)
    }

    private func show(_ result: RepairResult, _ identifier: BackupIdentifier) {
        StandardStream.output.write("repaired    \(identifier): \(result.what)\n")
        if case .archiveWithRemains(let error) = result {
            StandardStream.error.write("warning: \(error)\nhint: every start tries again to remove it\n")
        }
    }

    private struct Finding: Encodable {
        let code: String
        let detail: String
        let archive_offset: UInt64?
        let archive_size: UInt64?
        let frame: Int?
        let raw_offset: UInt64?
        let raw_size: UInt64?
        let healed: Bool?
    }

    private struct Result: Encodable {
        let backup: String
        let depth: String
        let good: Bool
        let archive_size: UInt64
        let archive_sha256: String?
        let raw_size: UInt64
        let raw_sha256: String?
        let lost_bytes: UInt64
        let fetched_bytes: UInt64
        let findings: [Finding]
        let lost: [LostRangeRow]
        let repaired: String?
    }

    private func printReports(
        _ reports: [CheckReport], _ engine: Engine, _ repaired: [BackupIdentifier: String] = [:]
    ) throws {
        let results = reports.map { report in
            Result(
                backup: "\(report.identifier)", depth: report.depth.rawValue, good: report.isGood,
                archive_size: report.archiveByteCount, archive_sha256: report.archiveSHA256?.hexadecimal,
                raw_size: report.rawByteCount, raw_sha256: report.rawSHA256?.hexadecimal,
                lost_bytes: report.lostByteCount, fetched_bytes: report.fetchedByteCount,
                findings: report.findings.map { finding in
                    let damage = finding.damage
                    return Finding(
                        code: finding.error.code.rawValue, detail: finding.error.detail,
                        archive_offset: damage?.archiveRange.lowerBound,
                        archive_size: damage.map { UInt64($0.archiveRange.count) }, frame: damage?.frame,
                        raw_offset: damage?.rawRange.lowerBound, raw_size: damage.map { UInt64($0.rawRange.count) },
                        healed: damage?.isHealed)
                }, lost: report.lost(engine).map(LostRangeRow.init), repaired: repaired[report.identifier])
        }
        if names.count == 1, isOneName, let only = results.first { return try printJSON(only) }
        try printJSON(results)
    }
}

extension RepairResult {
    var what: String {
        switch self {
        case .archive, .archiveWithRemains: "archive"
        case .sidecar: "sidecar"
        case .nothing: "nothing"
        }
    }
}

extension CheckReport {
    /// What is lost, by partition; without partitions where the manifest does not open.
    func lost(_ engine: Engine) -> [LostRange] {
        let partitions = (try? engine.partitions(of: identifier)) ?? []
        return LostRange.list(of: findings.compactMap(\.damage), partitions)
    }
}

/// A stretch of lost raw bytes, for scripts.
struct LostRangeRow: Encodable {
    let raw_offset: UInt64
    let raw_size: UInt64
    let partition: Int?
    let partition_name: String?
    let partition_offset: UInt64?

    init(_ lost: LostRange) {
        raw_offset = lost.rawRange.lowerBound
        raw_size = UInt64(lost.rawRange.count)
        partition = lost.partition
        partition_name = lost.partition == nil ? nil : lost.partitionName
        partition_offset = lost.partition == nil ? nil : lost.offset
    }
}

extension LostRange {
    var described: String {
        let size = rawRange.count
        let place = "raw bytes \(rawRange.lowerBound)-\(rawRange.upperBound) (\(readableSize(UInt64(size))))"
        guard let partition else { return place + ", in no partition" }
        let name = partitionName.isEmpty ? "" : " \"\(partitionName)\""
        return place + ", in partition \(partition)\(name) at \(offset)"
    }
}
