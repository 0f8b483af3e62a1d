package import BackupNames
package import Catalog
package import Foundation
package import Retention

/// What a policy makes of a disk: for the projection of its growth.
package struct DiskForecast: Sendable {
    package let policy: RetentionPolicy
    package let timeZone: TimeZone
    package let locks: RetentionLocks
    /// Where its next backups go, each as often as the others.
    package let targets: [ResourceName]

    package init(policy: RetentionPolicy, timeZone: TimeZone, locks: RetentionLocks, targets: [ResourceName]) {
        self.policy = policy
        self.timeZone = timeZone
        self.locks = locks
        self.targets = targets
    }
}

/// What everything that the catalog knows takes up and costs, now and later.
package struct UsageReport: Sendable {
    /// What will be there some days from now.
    package struct Projection: Sendable, Hashable {
        package let days: Int
        package var count = 0
        package var storedByteCount: UInt64 = 0
        package var month = Money.nothing
    }

    /// Backups that are gone, and still billed.
    package struct Removed: Sendable, Hashable {
        package var count = 0
        package var storedByteCount: UInt64 = 0
        /// From now on, until their minimum days are over.
        package var charge = Money.nothing
    }

    package let backups: Usage
    package let projections: [Projection]
    /// By backend; none for one that bills no longer than it stores.
    package let removed: [ResourceName: Removed]
    /// In-cluster copies, not backups: in no other figure.
    package let snapshots: [SnapshotUsage]
    package let snapshotPrice: Price
}

extension Engine {
    /// What backups of the vms that `isMeant` means take up. `forecast` says what a policy makes of a disk; a disk without one
    /// stays as it is. `backupPrice` is that of backends that are not configured any more. Asks no backend.
    package func usage(
        where isMeant: (_ org: ResourceName, _ vm: ResourceName) -> Bool = { _, _ in true }, backupPrice: Price,
        snapshotPrice: Price, days: [Int], forecast: (DiskName) -> DiskForecast?
    ) throws(EngineError) -> UsageReport {
        do {
            let now = clock.secondsSince1970
            func price(_ backend: ResourceName) -> Price { backends[backend]?.price ?? backupPrice }
            let all = try catalog.allBackups().filter { isMeant($0.identifier.org, $0.identifier.vm) }
            let items = all.map { backup in
                Usage.Item(
                    org: backup.identifier.org, vm: backup.identifier.vm, backend: backup.identifier.backend,
                    rawByteCount: backup.rawByteCount, storedByteCount: backup.archiveByteCount,
                    boundSeconds: minimumDuration(backup.identifier.backend).secondsLeft(age: now - backup.createdAt))
            }
            return UsageReport(
                backups: Usage(items, price: price),
                projections: try projections(all, price, days: days, now: now, forecast),
                removed: try removedAndBilled(now: now, isMeant),
                snapshots: try catalog.snapshotUsage().filter { isMeant($0.org, $0.vm) }, snapshotPrice: snapshotPrice)
        } catch {
            throw EngineError(error, subject: "usage")
        }
    }

    private func minimumDuration(_ backend: ResourceName) -> MinimumDuration {
        MinimumDuration(days: backends[backend]?.minimumBilledDays ?? 0)
    }

    // MARK: Later

    private func projections(
        _ backups: [BackupSummary], _ price: (ResourceName) -> Price, days: [Int], now: Int64,
        _ forecast: (DiskName) -> DiskForecast?
    ) throws -> [UsageReport.Projection] {
        var projections = days.map { UsageReport.Projection(days: $0) }
        let held = Set(try catalog.holds().map(\.identifier))
        func add(_ backup: BackupSummary, to index: Int) {
            projections[index].count += 1
            projections[index].storedByteCount += backup.archiveByteCount
            projections[index].month =
                projections[index].month + price(backup.identifier.backend).month(of: backup.archiveByteCount)
        }
        for (disk, own) in Dictionary(grouping: backups, by: \.identifier.diskName) {
            let retained = own.filter { backends[$0.identifier.backend]?.isDisasterRecovery == true }
            // What retention is not about stays.
            for backup in own where !retained.contains(backup) {
                for index in days.indices { add(backup, to: index) }
            }
            guard let forecast = forecast(disk), !forecast.policy.isOff else {
                for backup in retained { for index in days.indices { add(backup, to: index) } }
                continue
            }
            let copies = Dictionary(grouping: retained, by: \.identifier.date)
            let points = retentionPoints(copies, try checks(of: retained, disk), held: held)
            let sized = points.map { point in
                GrowthProjection.Sized(point, byteCount: copies[point.id]?.map(\.archiveByteCount).max() ?? 0)
            }
            let found = GrowthProjection.project(
                sized, policy: forecast.policy, timeZone: forecast.timeZone, locks: forecast.locks, now: now, days: days
            )
            for (index, projection) in found.enumerated() {
                for standing in projection.standing {
                    for copy in copies[points[standing].id] ?? [] { add(copy, to: index) }
                }
                projections[index].count += projection.newCount
                let added = UInt64(projection.newCount) * projection.newByteCount
                projections[index].storedByteCount += added
                // Where nothing says where the next ones go, they go where the last ones went.
                let targets =
                    forecast.targets.isEmpty ? Set(retained.map(\.identifier.backend)) : Set(forecast.targets)
                let prices = targets.map { price($0).month(of: added) }
                let sum = prices.reduce(Money.nothing, +)
                projections[index].month =
                    projections[index].month + Money(byteCents: sum.byteCents / UInt128(max(1, prices.count)))
            }
        }
        return projections
    }

    // MARK: Gone

    /// Backups that the agent has made and that are gone before their minimum days: its runs remember them.
    private func removedAndBilled(
        now: Int64, _ isMeant: (_ org: ResourceName, _ vm: ResourceName) -> Bool
    ) throws -> [ResourceName: UsageReport.Removed] {
        var removed: [ResourceName: UsageReport.Removed] = [:]
        for backend in backends.values where backend.minimumBilledDays > 0 {
            removed[backend.name] = UsageReport.Removed()
            for run in try catalog.goodBackupRuns(at: backend.name, limit: 100_000)
            where isMeant(run.disk.org, run.disk.vm) {
                guard let date = run.date else { continue }
                let left = minimumDuration(backend.name).secondsLeft(age: now - date.secondsSince1970)
                let identifier = BackupIdentifier(
                    backend: backend.name, org: run.disk.org, vm: run.disk.vm, date: date, disk: run.disk.disk)
                guard left > 0, try catalog.backup(identifier) == nil else { continue }
                var sum = removed[backend.name] ?? UsageReport.Removed()
                sum.count += 1
                sum.storedByteCount += run.storedByteCount
                sum.charge = sum.charge + backend.price.charge(of: run.storedByteCount, seconds: left)
                removed[backend.name] = sum
            }
        }
        return removed
    }
}
