import Agent
import BackupEngine
import BackupNames
import Catalog
import Foundation
import OrgKeys
import Retention
import Storage
import StorageTesting
import Testing

/// 200 disks on three backends, one agent that is killed now and then, and somebody who looks at all of it from outside.
final class SimulatedYear {
    /// 2025-12-31T23:00:00Z: midnight in Berlin.
    static let start: Int64 = 1_767_222_000
    static let step: Int64 = 1800
    static let day: Int64 = 86_400
    /// All windows are closed at 11:00 UTC, which is twelve hours after `start`.
    static let noon: Int64 = 12 * 3600

    /// What is known of a disk from outside.
    struct Ledger {
        /// Every point that was ever found good, whether it still is there or not.
        var good: Set<BackupDate> = []
        /// Every point there ever was.
        var points: Set<BackupDate> = []
        /// Starts of the runs that went well.
        var starts: [Int64] = []
        /// Something has happened since the last look.
        var isTouched = false
    }

    let clock = SimulatedClock(start)
    let backends: [SimulatedBackend]
    let limits = AgentPlan.Limits(overall: 8, perTarget: 4)
    let host: SimulatedHost
    private(set) var ledgers: [DiskName: Ledger] = [:]
    private(set) var runsAt: [ResourceName: Int] = [:]
    private(set) var killCount = 0
    private(set) var killInRunCount = 0
    private(set) var failureCount = 0
    private(set) var outageCount = 0
    private var random: SeededGenerator
    private var awayUntil: [ResourceName: Int64] = [:]
    private var running: [(run: AgentRun, endsAt: Int64)] = []
    private let beginnings = Beginnings()
    private let keysPath: String
    private var oracle = RetentionOracle()

    init(seed: UInt64) throws {
        random = SeededGenerator(seed)
        backends = try ["north", "south", "west"].map { try SimulatedBackend($0) }
        keysPath = "/dev/shm/holdfast-keys-\(UUID().uuidString)"
        _ = try KeyDirectory(path: keysPath).create(ResourceName("acme"), createdAt: "2026-01-01T00:00:00Z")
        var settings = AgentSettings()
        settings.limits = limits
        host = try SimulatedHost(
            "year", backends, clock, try Self.disks(backends.map(\.name), beginnings), settings, keysPath: keysPath)
    }

    deinit { try? FileManager.default.removeItem(atPath: keysPath) }

    /// 3 daily, 9 weekly, 48 monthly and 140 yearly; three windows in three zones; half of them to one backend, half to any.
    private static func disks(_ backends: [ResourceName], _ beginnings: Beginnings) throws -> [AutomaticDisk] {
        let windows = [
            try BackupWindow("22:00-04:00", timeZone: "Europe/Berlin"),
            try BackupWindow("01:00-06:00", timeZone: "UTC"),
            try BackupWindow("20:00-02:00", weekdays: "fri-sun", timeZone: "America/New_York"),
        ]
        return try (0..<200).map { index in
            let policy: RetentionPolicy =
                switch index {
                case 0: .gfs
                case 1: .basic
                case 2: .weekly
                case ..<12: RetentionPolicy(daily: 0, weekly: index % 2 == 0 ? 4 : 6, monthly: index % 3)
                case ..<60: RetentionPolicy(daily: 0, monthly: 6, yearly: index % 2)
                default: RetentionPolicy(daily: 0, yearly: 2)
                }
            let name = DiskName(
                org: try ResourceName("acme"), vm: try ResourceName("vm\(index)"), disk: try ResourceName("disk"))
            // Daily ones need a window each day.
            return AutomaticDisk(
                name: name, policy: policy, window: windows[index < 3 ? index % 2 : index % 3],
                targets: index % 2 == 0 ? backends : [backends[index / 2 % 3]]
            ) {
                OpenedSource(SimulatedDisk(name: "\(name)", consistentAt: beginnings[name]))
            }
        }
    }

    // MARK: Time

    func live(days: Int) throws {
        let end = Self.start + Int64(days) * Self.day
        while clock.secondsSince1970 < end {
            let idleUntil = try beginWhatIsDue()
            let now = clock.secondsSince1970
            let noon = now + Self.day - (now - Self.start - Self.noon + Self.day) % Self.day
            var next = running.isEmpty ? min(idleUntil ?? noon, noon, awayUntil.values.min() ?? noon) : now + Self.step
            next = max(now + Self.step, Self.start + (next - Self.start + Self.step - 1) / Self.step * Self.step)
            try perform(until: next)
            clock.secondsSince1970 = next
            for backend in backends where awayUntil[backend.name].map({ $0 <= next }) ?? false {
                awayUntil[backend.name] = nil
                backend.memory.setAvailable(true)
            }
            // Twice a month, at any moment.
            if random.happens(Double(next - now) / Double(15 * Self.day)) {
                killCount += 1
                running = []
                try host.restart()
            }
            if (next - Self.start) % Self.day == Self.noon { try endDay((next - Self.start) / Self.day) }
        }
    }

    private func endDay(_ day: Int64) throws {
        if day % 30 == 29 {
            try lookAtEverything()
        } else {
            for disk in host.disks where ledgers[disk.name]?.isTouched == true { try look(at: disk) }
        }
        guard random.happens(0.08), let backend = backends.randomElement(using: &random) else { return }
        outageCount += 1
        awayUntil[backend.name] = clock.secondsSince1970 + Int64.random(in: 2...30, using: &random) * 3600
        backend.memory.setAvailable(false)
    }

    /// Gives the moment until which nothing changes, where nothing is under way.
    private func beginWhatIsDue() throws -> Int64? {
        let plan = host.agent.plan()
        for start in plan.starts {
            let now = clock.secondsSince1970
            #expect(!running.contains { $0.run.disk.name == start.disk }, "\(start.disk) is taken twice")
            let run = try #require(try host.agent.begin(start))
            beginnings[start.disk] = now
            running.append((run, now + Int64.random(in: 300...7200, using: &random)))
            #expect(run.disk.window.occurrence(at: now) != nil, "\(start.disk) begins outside its window")
            #expect(run.disk.targets.contains(start.target))
            #expect(awayUntil[start.target] == nil, "\(start.target) is away")
            #expect(running.count <= limits.overall)
            #expect(running.count { $0.run.record.place == start.target } <= limits.perTarget)
        }
        return plan.wakesAt
    }

    private func perform(until end: Int64) throws {
        running.sort { $0.endsAt < $1.endsAt }
        while let next = running.first, next.endsAt <= end {
            running.removeFirst()
            clock.secondsSince1970 = next.endsAt
            try perform(next.run)
        }
    }

    private func perform(_ run: AgentRun) throws {
        let store = try #require(backends.first { $0.name == run.record.place }?.store)
        let moment: FaultInjectingStore.Moment = random.happens(0.5) ? .beforeEffect : .afterEffect
        let operation = Int.random(in: 0..<14, using: &random)
        let isKilled = random.happens(0.01)
        if isKilled {
            // From that moment on nothing has an effect, wherever.
            let (keep, others) = (host.keepState, backends.map(\.store).filter { $0 !== store })
            store.failOperation(operation, .forGood, moment) {
                keep()
                for other in others { other.failOperation(0, .forGood, .beforeEffect) }
            }
        } else if random.happens(0.04) {
            store.failOperation(operation, .once, moment)
        }
        let result = run.perform()
        let struck = store.faultCount > 0
        for backend in backends { backend.store.heal() }
        runsAt[run.record.place, default: 0] += 1
        ledgers[run.disk.name, default: Ledger()].isTouched = true
        if isKilled, struck {
            killInRunCount += 1
            running = []
            return try host.restart(asKept: true)
        }
        if result.isGood {
            ledgers[run.disk.name, default: Ledger()].starts.append(run.record.startedAt)
        } else {
            failureCount += 1
            #expect(struck || awayUntil[run.record.place] != nil, "\(run.disk.name): \(result.detail)")
        }
    }

    // MARK: Looking

    /// Everything that the policy wants of what ever was good is in the catalog, and at its backend.
    private func look(at disk: AutomaticDisk) throws {
        var ledger = ledgers[disk.name, default: Ledger()]
        ledger.isTouched = false
        let standing = try host.engine.retainedBackups(of: disk.name)
        for backup in standing {
            ledger.points.insert(backup.identifier.date)
            let checks = try host.engine.catalog.checks(backup.identifier)
            if checks.contains(where: { $0.goodAt != nil }) { ledger.good.insert(backup.identifier.date) }
        }
        ledgers[disk.name] = ledger
        let dates = Set(standing.map(\.identifier.date))
        let wanted = oracle.kept(ledger.good, disk.policy, disk.window.timeZone)
        #expect(wanted.isSubset(of: dates), "\(disk.name) has lost \(wanted.subtracting(dates))")
        for backup in standing where wanted.contains(backup.identifier.date) {
            let memory = try #require(backends.first { $0.name == backup.identifier.backend }?.memory)
            let key = try ObjectKey(backup.identifier.archiveKey)
            #expect(memory.bytes(of: key)?.count == Int(backup.archiveByteCount), "\(backup.identifier)")
        }
    }

    /// All disks; and once the weather is fine and the agent has started anew, nothing lies about.
    func lookAtEverything() throws {
        for backend in backends { backend.memory.setAvailable(true) }
        awayUntil = [:]
        running = []
        try host.restart()
        for disk in host.disks { try look(at: disk) }
        #expect(try host.engine.catalog.uploads().isEmpty && host.engine.catalog.removingBackups().isEmpty)
        let backups = try host.engine.catalog.allBackups()
        for backend in backends {
            let own = backups.filter { $0.identifier.backend == backend.name }.map(\.identifier)
            let known = Set(own.flatMap { [$0.archiveKey, $0.manifestKey] })
            let there = Set(backend.memory.keys.map(\.string))
            #expect(
                (there == known) as Bool,
                "\(backend.name): \(there.subtracting(known).sorted()) and \(known.subtracting(there).sorted())")
            #expect(backend.memory.uploadIdentifiers.isEmpty, "\(backend.name)")
        }
    }

    /// In fine weather retention leaves just what it says.
    func pruneEverything() throws {
        try lookAtEverything()
        for disk in host.disks {
            let plan = try host.engine.prunePlan(of: disk.name, disk.policy, in: disk.window.timeZone)
            let outcomes = try host.engine.prune([plan], maximumShare: 1, isForced: true)
            #expect(outcomes.allSatisfy { $0.error == nil })
            try look(at: disk)
            let dates = Set(try host.engine.retainedBackups(of: disk.name).map(\.identifier.date))
            let wanted = oracle.kept(ledgers[disk.name]?.good ?? [], disk.policy, disk.window.timeZone)
            #expect(dates == wanted, "\(disk.name): \(dates.symmetricDifference(wanted))")
        }
    }
}

/// What a policy keeps, told in another way than the planner's: by Foundation's calendar.
struct RetentionOracle {
    private var names: [String: [String]] = [:]

    /// Of all points that ever were good: the first of each of the newest periods of each class, and the newest.
    mutating func kept(_ good: Set<BackupDate>, _ policy: RetentionPolicy, _ zone: TimeZone) -> Set<BackupDate> {
        var kept = Set<BackupDate>()
        let ordered = good.sorted()
        if let newest = ordered.last { kept.insert(newest) }
        for (index, count) in [policy.daily, policy.weekly, policy.monthly, policy.yearly].enumerated() {
            var firsts: [(name: String, date: BackupDate)] = []
            for date in ordered {
                let name = periods(of: date, zone)[index]
                if firsts.last?.name != name { firsts.append((name, date)) }
            }
            kept.formUnion(firsts.suffix(count).map(\.date))
        }
        return kept
    }

    private mutating func periods(of date: BackupDate, _ zone: TimeZone) -> [String] {
        let key = "\(zone.identifier) \(date)"
        if let known = names[key] { return known }
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = zone
        let time = Date(timeIntervalSince1970: TimeInterval(date.secondsSince1970))
        let parts = calendar.dateComponents([.year, .month, .day, .yearForWeekOfYear, .weekOfYear], from: time)
        let periods = [
            "\(parts.year!)-\(parts.month!)-\(parts.day!)", "\(parts.yearForWeekOfYear!)-\(parts.weekOfYear!)",
            "\(parts.year!)-\(parts.month!)", "\(parts.year!)",
        ]
        names[key] = periods
        return periods
    }
}
