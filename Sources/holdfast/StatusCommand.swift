internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Foundation
internal import Snapshots

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show each disk: last good backup, RPO, RTO, last drill and verification.",
        discussion: """
            RPO is the age of the newest backup that no check has found something wrong with. RTO is what the newest good drill \
            took; without one it is estimated from the size of the disk and what its backend has given of late.

            What is overdue is decided by [status] of the configuration: rpo (26h), verify (8d), drill (35d), also for each org. \
            What never was done is overdue.

            Snapshots in pools are shown apart: in-cluster copies, not backups. They count for no RPO, RTO or last good backup.

            Exit codes: 0 all is well; 20 something is overdue; 21 a check or the last drill of a disk found something wrong.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only what this names: ORG[/VM[/DISK]].") var pattern: String?
    @Flag(help: "Print JSON, as in the status.json of a mount.") var json = false
    @Flag(help: "Print metrics in Prometheus' text format, as in the metrics.prom of a mount.") var prometheus = false

    private static let overdueCode = ExitCode(20)

    func validate() throws {
        guard !(json && prometheus) else { throw ValidationError("--json and --prometheus exclude each other") }
    }

    private struct Report: Encodable {
        let format = 1
        let time: String
        let resources: [ResourceReport]
        /// In-cluster copies, not backups: counted nowhere else.
        let snapshots: [SnapshotStatusReport]
        let orgs_without_backup: [String]
    }

    func run() throws {
        let code: ExitCode? = try common.withEngine { engine, _ in
            let now = engine.clock.secondsSince1970
            let all = try engine.resources()
            let without = pattern == nil ? engine.orgsWithoutBackup(all) : []
            let resources = try selected(all)
            let snapshots = SnapshotStatus.list(try selected(engine.catalog.snapshots()))
            let reports = resources.map { ResourceReport($0, engine, now: now) }
            if prometheus {
                var text = PrometheusText()
                text.add(resources, engine, now: now)
                StandardStream.output.write(text.bytes)
            } else if json {
                try printJSON(
                    Report(
                        time: BackupDate(secondsSince1970: now).description, resources: reports,
                        snapshots: snapshots.map { SnapshotStatusReport($0, now: now) },
                        orgs_without_backup: without.map(\.description)))
            } else {
                printTable(
                    ["DISK", "LAST GOOD BACKUP", "CONSISTENCY", "RPO", "RTO", "LAST DRILL", "VERIFIED", "STATE"],
                    zip(resources, reports).map { row($0, $1, now) }
                        + without.map { ["\($0)", "none", "-", "-", "-", "-", "-", "overdue: rpo"] })
                printSnapshots(snapshots, now)
            }
            if reports.contains(where: { !$0.failures.isEmpty }) { return DrillCommand.findingExitCode }
            return reports.contains { !$0.overdue.isEmpty } || !without.isEmpty ? Self.overdueCode : nil
        }
        if let code { throw code }
    }

    private func selected(_ all: [ResourceStatus]) throws -> [ResourceStatus] {
        guard let pattern else { return all }
        let parts = pattern.split(separator: "/").map(String.init)
        guard (1...3).contains(parts.count) else {
            throw EngineError(.invalidName, "\"\(pattern)\" is not ORG, ORG/VM or ORG/VM/DISK")
        }
        let found = all.filter { resource in
            zip(parts, ["\(resource.disk.org)", "\(resource.disk.vm)", "\(resource.disk.disk)"]).allSatisfy { $0 == $1 }
        }
        guard !found.isEmpty else { throw EngineError(.notFound, "there is no backup of \"\(pattern)\"") }
        return found
    }

    private func selected(_ all: [SnapshotRecord]) throws -> [SnapshotRecord] {
        guard let pattern else { return all }
        let filter = try ListFilter(pattern)
        return all.filter { filter.matches($0.identifier.diskName) }
    }

    private func printSnapshots(_ snapshots: [SnapshotStatus], _ now: Int64) {
        guard !snapshots.isEmpty else { return }
        StandardStream.output.write("\n")
        printTable(
            ["SNAPSHOTS OF", "POOL", "COUNT", "NEWEST", "AGE", "DATA", "WHAT IT IS"],
            snapshots.map {
                [
                    "\($0.disk)", "\($0.pool)", "\($0.count)", "\($0.newest.identifier.date)",
                    readableAge(now - $0.newest.createdAt), readableSize($0.dataByteCount), SnapshotIdentifier.label,
                ]
            })
    }

    private func row(_ status: ResourceStatus, _ report: ResourceReport, _ now: Int64) -> [String] {
        func age(_ time: Int64) -> String { readableAge(now - time) }
        let rto = status.recoveryTime
        let drill = status.lastDrill.map { age($0.startedAt) + ($0.isGood ? " ago" : " ago, \($0.outcome)") }
        var state = report.failures.isEmpty ? "" : "FAILED: " + report.failures.joined(separator: "; ")
        if !report.overdue.isEmpty {
            state += (state.isEmpty ? "" : "; ") + "overdue: " + report.overdue.joined(separator: ", ")
        }
        return [
            "\(status.disk)", status.lastGood.map { "\($0.identifier.backend):\($0.identifier.date)" } ?? "none",
            status.consistency ?? "-", status.recoveryPoint(now: now).map(readableAge) ?? "-",
            rto.milliseconds.map { "\(readableDuration($0)) \(rto.source)" } ?? rto.source, drill ?? "never",
            status.verifiedAt.map { age($0) + " ago" } ?? "never", state.isEmpty ? "ok" : state,
        ]
    }
}
