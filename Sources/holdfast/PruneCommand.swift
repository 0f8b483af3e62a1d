internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Foundation
internal import Retention

struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Remove the backups at DR backends that retention no longer keeps.",
        discussion: """
            What is kept is said by the policy of a disk: preset or counts in [orgs.NAME.auto], of its vm, or of the disk. A class \
            (daily, weekly, monthly, yearly) keeps the first good backup of each of its newest periods. The newest good backup is never \
            removed, nor one that is held, locked by its store, or not checked yet; a bad one only when a newer one is good. Backups at \
            other backends are left alone.

            --dry-run looks at what was never checked, as a real run does, and removes nothing.

            Exit codes: 6 a backend could not be asked to remove one; 14 too much would go at once, or a lock or hold came between.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only these disks: ORG[/VM[/DISK]].") var pattern: String?
    @Flag(help: "Only say what would be removed.") var dryRun = false
    @Flag(help: "Say of every backup why it is kept or goes.") var explain = false
    @Flag(help: "Remove more than the share that [agent] allows at once.") var force = false
    @Flag(help: "Print JSON.") var json = false

    private struct Report: Encodable {
        struct Backup: Encodable {
            let backup: String
            let verdict: String
            let reasons: [String]
            let bytes: UInt64
            let billed_days: Int64
            var error: String?
        }

        let dry_run: Bool
        var backups: [Backup]
    }

    func run() throws {
        let code: ExitCode? = try common.withEngine(changesCatalog: !dryRun) { engine, configuration in
            let filter = try pattern.map { try ListFilter($0) }
            if !dryRun { try engine.cleanUpAfterCrash() }
            let plans = try engine.prunePlans { disk in
                guard filter?.matches(disk) ?? true else { return nil }
                return configuration.retention(of: disk).map { ($0.policy, $0.window.timeZone) }
            }
            if explain, !json { explainPlans(plans) }
            var outcomes: [PruneOutcome] = []
            if !dryRun {
                outcomes = try engine.prune(
                    plans, maximumShare: configuration.agent.pruneShare, isForced: force,
                    report: { outcome in if !json { tell(outcome) } })
            } else if !json {
                for backup in plans.flatMap(\.removedCopies) {
                    tell(PruneOutcome(backup: backup, error: nil, billedDays: engine.billedDays(backup)))
                }
            }
            if json { try printJSON(report(plans, outcomes, engine)) }
            return outcomes.compactMap(\.error).first.map { ExitCode(ErrorReport($0)?.exitCode ?? 1) }
        }
        if let code { throw code }
    }

    private func tell(_ outcome: PruneOutcome) {
        let size = readableSize(outcome.backup.archiveByteCount)
        if let error = outcome.error {
            return StandardStream.error.write("error: \(outcome.backup.identifier) is not removed: \(error)\n")
        }
        var line = "\(dryRun ? "would remove" : "removed")  \(outcome.backup.identifier)  \(size)"
        if outcome.billedDays > 0 {
            line += "  (billed for \(outcome.billedDays) more days: nothing is saved until then)"
        }
        StandardStream.output.write(line + "\n")
    }

    private func explainPlans(_ plans: [DiskPrune]) {
        for plan in plans {
            let policy = plan.policy
            StandardStream.output.write(
                """
                \(plan.disk): \(policy.daily) daily, \(policy.weekly) weekly, \(policy.monthly) monthly, \(policy.yearly) yearly

                """)
            printTable(
                ["  BACKUP", "VERDICT", "WHY"],
                plan.plan.entries.map { entry in
                    ["  \(entry.point.id)", entry.isRemoved ? "goes" : "kept", entry.texts.joined(separator: "; ")]
                })
        }
    }

    private func report(_ plans: [DiskPrune], _ outcomes: [PruneOutcome], _ engine: Engine) -> Report {
        let errors = Dictionary(
            outcomes.map { ($0.backup.identifier, $0.error) }, uniquingKeysWith: { first, _ in first })
        var report = Report(dry_run: dryRun, backups: [])
        for plan in plans {
            for entry in plan.plan.entries {
                for copy in plan.copies[entry.point.id] ?? [] {
                    report.backups.append(
                        Report.Backup(
                            backup: "\(copy.identifier)", verdict: entry.isRemoved ? "remove" : "keep",
                            reasons: entry.texts, bytes: copy.archiveByteCount, billed_days: engine.billedDays(copy),
                            error: errors[copy.identifier]?.map { "\($0)" }))
                }
            }
        }
        return report
    }
}

extension RetentionPlan.Entry {
    var texts: [String] {
        switch verdict {
        case .keep(let reasons): reasons.map(\.text)
        case .remove(let reason): [reason.text]
        }
    }
}
