internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Foundation
internal import Retention

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Show what backups take up and cost, now and later.",
        discussion: """
            Prices are euros of a terabyte (10^12 stored bytes) and month: price of a backend, else backup of [prices] (35); snapshot of \
            [prices] (50) for snapshots. Sums are exact, and rounded to the cent where they are shown.

            The projection carries the retention policies out day by day, with backups as large as the last ones; disks without a \
            policy stay as they are. Snapshots are in-cluster copies, not backups, and counted apart.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "Only of this: ORG[/VM].") var pattern: String?
    @Flag(help: "Print JSON.") var json = false

    private static let horizons = [30, 365]

    func run() throws {
        let parts = (pattern ?? "").split(separator: "/").map(String.init)
        guard parts.count <= 2 else {
            throw EngineError(.invalidName, "\"\(pattern ?? "")\" is not ORG or ORG/VM")
        }
        try common.withEngine { engine, configuration in
            let report = try engine.usage(
                where: { org, vm in zip(parts, ["\(org)", "\(vm)"]).allSatisfy { $0 == $1 } },
                backupPrice: configuration.prices.backup, snapshotPrice: configuration.prices.snapshot,
                days: Self.horizons, forecast: configuration.forecast)
            if json { return try printJSON(UsageJSON(report, engine)) }
            printBackups(report, engine)
            printProjection(report)
            printMinimum(report, engine)
            printSnapshots(report)
        }
    }

    private func row(_ names: [String], _ sum: Usage.Sum) -> [String] {
        names + [
            "\(sum.count)", readableSize(sum.rawByteCount), decimalSize(sum.storedByteCount), sum.month.euros,
        ]
    }

    private func printBackups(_ report: UsageReport, _ engine: Engine) {
        let usage = report.backups
        var rows = usage.rows.map { row(["\($0.key.org)", "\($0.key.vm)", "\($0.key.backend)"], $0.sum) }
        for (org, sum) in usage.orgs { rows.append(row(["\(org)", "all", "all"], sum)) }
        for (backend, sum) in usage.backends { rows.append(row(["all", "all", "\(backend)"], sum)) }
        rows.append(row(["all", "all", "all"], usage.total))
        printTable(["ORG", "VM", "BACKEND", "COUNT", "RAW", "STORED", "EUR/MONTH"], rows)
    }

    private func printProjection(_ report: UsageReport) {
        for projection in report.projections {
            StandardStream.output.write(
                """
                in \(projection.days) days: \(projection.count) backups, \(decimalSize(projection.storedByteCount)), \
                \(projection.month.euros) EUR/month

                """)
        }
    }

    private func printMinimum(_ report: UsageReport, _ engine: Engine) {
        let sums = Dictionary(uniqueKeysWithValues: report.backups.backends.map { ($0.backend, $0.sum) })
        for (name, removed) in report.removed.sorted(by: { $0.key < $1.key }) {
            let days = engine.backends[name]?.minimumBilledDays ?? 0
            StandardStream.output.write(
                """
                \(name) bills \(days) days at least: \(removed.count) backups are gone and still billed \
                (\(decimalSize(removed.storedByteCount)), \(removed.charge.euros) EUR); of what is there removing all today would \
                not save \((sums[name]?.bound ?? .nothing).euros) EUR

                """)
        }
    }

    private func printSnapshots(_ report: UsageReport) {
        guard !report.snapshots.isEmpty else { return }
        StandardStream.output.write("\nin-cluster copies, not backups:\n")
        var rows: [[String]] = []
        var total = (count: 0, raw: UInt64(0), stored: UInt64(0))
        for snapshot in report.snapshots {
            rows.append([
                "\(snapshot.org)", "\(snapshot.vm)", "\(snapshot.pool)", "\(snapshot.count)",
                readableSize(snapshot.rawByteCount), decimalSize(snapshot.storedByteCount),
                report.snapshotPrice.month(of: snapshot.storedByteCount).euros,
            ])
            total.count += snapshot.count
            total.raw += snapshot.rawByteCount
            total.stored += snapshot.storedByteCount
        }
        rows.append([
            "all", "all", "all", "\(total.count)", readableSize(total.raw), decimalSize(total.stored),
            report.snapshotPrice.month(of: total.stored).euros,
        ])
        printTable(["ORG", "VM", "POOL", "COUNT", "RAW", "STORED", "EUR/MONTH"], rows)
    }
}

extension Configuration {
    /// What the policy of a disk will make of its backups; nil where none is set.
    fileprivate func forecast(_ disk: DiskName) -> DiskForecast? {
        guard let (policy, window) = retention(of: disk) else { return nil }
        return DiskForecast(
            policy: policy, timeZone: window.timeZone, locks: locks(of: disk) ?? RetentionLocks(),
            targets: automaticTargets(of: disk))
    }
}

/// Bytes as they are billed: 1 GB is 10^9.
private func decimalSize(_ byteCount: UInt64) -> String {
    var value = Double(byteCount)
    var unit = 0
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000, unit < units.count - 1 {
        value /= 1000
        unit += 1
    }
    return unit == 0 ? "\(byteCount) B" : String(format: "%.1f %@", value, units[unit])
}

private struct UsageJSON: Encodable {
    struct Sum: Encodable {
        var org: String?
        var vm: String?
        var backend: String?
        let count: Int
        let raw_bytes: UInt64
        let stored_bytes: UInt64
        /// Decimal, to the cent: a text, so that nobody reads it as a binary fraction.
        let eur_per_month: String
        let eur_not_saved_by_removal_today: String

        init(_ sum: Usage.Sum, org: ResourceName? = nil, vm: ResourceName? = nil, backend: ResourceName? = nil) {
            self.org = org?.description
            self.vm = vm?.description
            self.backend = backend?.description
            count = sum.count
            raw_bytes = sum.rawByteCount
            stored_bytes = sum.storedByteCount
            eur_per_month = sum.month.euros
            eur_not_saved_by_removal_today = sum.bound.euros
        }
    }

    struct Projection: Encodable {
        let days: Int
        let count: Int
        let stored_bytes: UInt64
        let eur_per_month: String
    }

    struct Minimum: Encodable {
        let backend: String
        let days: Int
        let removed_count: Int
        let removed_stored_bytes: UInt64
        let eur_still_billed: String
    }

    struct Snapshot: Encodable {
        let label = "in-cluster copy, not a backup"
        let org: String
        let vm: String
        let pool: String
        let count: Int
        let raw_bytes: UInt64
        let stored_bytes: UInt64
        let eur_per_month: String
    }

    let backups: [Sum]
    let orgs: [Sum]
    let backends: [Sum]
    let total: Sum
    let projection: [Projection]
    let minimum_duration: [Minimum]
    let snapshots: [Snapshot]

    init(_ report: UsageReport, _ engine: Engine) {
        backups = report.backups.rows.map { Sum($0.sum, org: $0.key.org, vm: $0.key.vm, backend: $0.key.backend) }
        orgs = report.backups.orgs.map { Sum($0.sum, org: $0.org) }
        backends = report.backups.backends.map { Sum($0.sum, backend: $0.backend) }
        total = Sum(report.backups.total)
        projection = report.projections.map {
            Projection(
                days: $0.days, count: $0.count, stored_bytes: $0.storedByteCount, eur_per_month: $0.month.euros)
        }
        minimum_duration = report.removed.sorted { $0.key < $1.key }.map { name, removed in
            Minimum(
                backend: "\(name)", days: engine.backends[name]?.minimumBilledDays ?? 0, removed_count: removed.count,
                removed_stored_bytes: removed.storedByteCount, eur_still_billed: removed.charge.euros)
        }
        snapshots = report.snapshots.map {
            Snapshot(
                org: "\($0.org)", vm: "\($0.vm)", pool: "\($0.pool)", count: $0.count, raw_bytes: $0.rawByteCount,
                stored_bytes: $0.storedByteCount,
                eur_per_month: report.snapshotPrice.month(of: $0.storedByteCount).euros)
        }
    }
}
