import Agent
import BackupNames
import Catalog
import Foundation
import OrgKeys
import Retention
import Storage
import StorageTesting
import Testing

/// Three hosts with the same disks, whose clocks differ, and which know of each other only what lies at the backends.
final class SharedWork {
    static let start: Int64 = 1_767_222_000
    static let step: Int64 = 600
    static let limits = AgentPlan.Limits(overall: 5, perTarget: 2)

    /// A run under way, and until when by its host's leases nobody else may have its disk or its places.
    struct Holding {
        let run: AgentRun
        let host: Int
        let beganAt: Int64
        let endsAt: Int64
        var heldUntil: Int64
    }

    private let clocks: [SimulatedClock]
    /// By how much each clock is fast. Together less than `FleetLeases.skewSeconds`.
    private let skews: [Int64] = [0, 55, -60]
    private let stores: [SimulatedBackend]
    let hosts: [SimulatedHost]
    private let beginnings = Beginnings()
    private let keysPath: String
    private var random: SeededGenerator
    private var now = SharedWork.start
    private var holdings: [Holding] = []
    private var cutOffUntil: [Int: Int64] = [:]
    /// Of each disk, when the runs that went well began.
    private(set) var starts: [DiskName: [Int64]] = [:]
    private(set) var mostAtOnce = 0
    private(set) var killCount = 0
    private(set) var cutOffCount = 0
    private(set) var lostCount = 0
    private(set) var goodByHost = [0, 0, 0]

    init(seed: UInt64) throws {
        random = SeededGenerator(seed)
        let stores = try ["north", "south", "west"].map { try SimulatedBackend($0) }
        self.stores = stores
        keysPath = "/dev/shm/holdfast-keys-\(UUID().uuidString)"
        _ = try KeyDirectory(path: keysPath).create(ResourceName("acme"), createdAt: "2026-01-01T00:00:00Z")
        clocks = skews.map { SimulatedClock(Self.start + $0) }
        var settings = AgentSettings()
        settings.limits = Self.limits
        let window = try BackupWindow("22:00-06:00", timeZone: "Europe/Berlin")
        let (beginnings, clocks, keysPath) = (beginnings, clocks, keysPath)
        let disks = try (0..<24).map { index in
            let name = DiskName(
                org: try ResourceName("acme"), vm: try ResourceName("vm\(index)"), disk: try ResourceName("disk"))
            return AutomaticDisk(
                name: name, policy: .basic, window: window,
                targets: index % 2 == 0 ? stores.map(\.name) : [stores[index / 2 % 3].name]
            ) { OpenedSource(SimulatedDisk(name: "\(name)", consistentAt: beginnings[name])) }
        }
        hosts = try (0..<3).map { host in
            try SimulatedHost(
                "shared-\(host)", stores.map { SimulatedBackend(sharing: $0) }, clocks[host], disks, settings,
                keysPath: keysPath, sharesWork: true)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: keysPath) }

    /// `isFine`: nothing is killed or cut off any more.
    func live(hours: Int64, isFine: Bool = false) throws {
        let end = now + hours * 3600
        while now < end {
            for host in [0, 1, 2].shuffled(using: &random) where cutOffUntil[host] == nil || random.happens(0.2) {
                try beginWhatIsDue(host)
            }
            let next = now + Self.step
            try perform(until: next)
            set(next)
            for (host, until) in cutOffUntil where until <= now {
                for backend in hosts[host].backends { backend.store.heal() }
                cutOffUntil[host] = nil
            }
            for index in holdings.indices {
                holdings[index].run.renewLeases()
                // What has expired is not renewed.
                if cutOffUntil[holdings[index].host] == nil, holdings[index].heldUntil > now {
                    holdings[index].heldUntil = now + Agent.fleetLeaseSeconds
                }
            }
            guard !isFine else { continue }
            if random.happens(0.01) { try kill(Int.random(in: 0..<3, using: &random)) }
            if random.happens(0.01) { cutOff(Int.random(in: 0..<3, using: &random)) }
        }
    }

    private func set(_ time: Int64) {
        now = time
        for (clock, skew) in zip(clocks, skews) { clock.secondsSince1970 = time + skew }
    }

    private func kill(_ host: Int) throws {
        guard cutOffUntil[host] == nil else { return }
        killCount += 1
        holdings.removeAll { $0.host == host }
        try hosts[host].restart()
    }

    /// It works on, and reaches no backend.
    private func cutOff(_ host: Int) {
        cutOffCount += 1
        cutOffUntil[host] = now + Int64.random(in: 600...14_400, using: &random)
        for backend in hosts[host].backends { backend.store.failOperation(0, .forGood, .beforeEffect) }
    }

    private func beginWhatIsDue(_ host: Int) throws {
        for start in hosts[host].agent.plan().starts {
            let run: AgentRun
            do {
                guard let begun = try hosts[host].agent.begin(start) else { continue }
                run = begun
            } catch {
                #expect(cutOffUntil[host] != nil, "\(error)")
                continue
            }
            #expect(cutOffUntil[host] == nil, "a host begins that nobody can hear")
            // Runs whose leases have ended find that out themselves, before they have changed anything.
            let held = holdings.filter { $0.heldUntil > now }
            #expect(!held.contains { $0.run.disk.name == start.disk }, "\(start.disk) is taken twice")
            #expect(held.count { $0.run.record.place == start.target } < Self.limits.perTarget, "\(start.target)")
            #expect(held.count < Self.limits.overall)
            mostAtOnce = max(mostAtOnce, held.count + 1)
            beginnings[start.disk] = now
            holdings.append(
                Holding(
                    run: run, host: host, beganAt: now, endsAt: now + Int64.random(in: 300...5400, using: &random),
                    heldUntil: now + Agent.fleetLeaseSeconds))
        }
    }

    private func perform(until end: Int64) throws {
        holdings.sort { $0.endsAt < $1.endsAt }
        while let next = holdings.first, next.endsAt <= end {
            holdings.removeFirst()
            set(max(now, next.endsAt))
            let result = next.run.perform()
            if result.isGood {
                #expect(next.heldUntil > now, "\(next.run.disk.name) went on without its lease")
                starts[next.run.disk.name, default: []].append(next.beganAt)
                goodByHost[next.host] += 1
            } else {
                lostCount += 1
                let isExplained = cutOffUntil[next.host] != nil || next.heldUntil <= now
                #expect(isExplained, "\(next.run.disk.name): \(result.detail)")
            }
        }
    }

    /// Claims of hosts that are no more, and everything else that is no backup's.
    var leftovers: [String] {
        get throws {
            var left: [String] = []
            for store in stores {
                let keys = store.memory.keys.map(\.string)
                let sidecars = keys.filter { $0.hasSuffix(".manifest.age") }
                let archives = keys.filter { $0.hasSuffix(".zst.age") }
                left += keys.filter { !$0.hasSuffix(".age") }
                if archives.count != sidecars.count { left.append("\(store.name): an archive without its sidecar") }
                left += store.memory.uploadIdentifiers.map { "upload \($0)" }
            }
            return left
        }
    }

    /// How many backups of a disk there are, wherever.
    func count(of disk: DiskName) -> Int {
        stores.reduce(0) { sum, store in
            sum + store.memory.keys.count { $0.string.contains("/\(disk.vm)/") && $0.string.hasSuffix(".zst.age") }
        }
    }
}

@Suite("Hosts that share their work", .timeLimit(.minutes(3)))
struct SharedWorkTests {
    @Test
    func `no disk is taken twice and the caps hold for all hosts together, whoever dies or is cut off`() throws {
        // Another month: HOLDFAST_SEED=1.
        let seed = ProcessInfo.processInfo.environment["HOLDFAST_SEED"].flatMap { UInt64($0) } ?? 2026
        let fleet = try SharedWork(seed: seed)
        try fleet.live(hours: 30 * 24)
        // Until noon, when all windows are closed and nothing runs.
        try fleet.live(hours: 5 * 24 + 12, isFine: true)

        #expect(fleet.killCount > 10 && fleet.cutOffCount > 10 && fleet.lostCount > 0)
        #expect(fleet.mostAtOnce == SharedWork.limits.overall, "the caps were never reached")
        #expect(fleet.goodByHost.allSatisfy { $0 > 60 }, "\(fleet.goodByHost)")
        for disk in fleet.hosts[0].disks {
            let starts = fleet.starts[disk.name] ?? []
            let days = starts.compactMap { start in
                disk.window.latest(at: start).map { disk.window.day(of: $0) }
            }
            #expect(Set(days).count == starts.count, "\(disk.name) was backed up twice in a day")
            #expect(days.count >= 33, "\(disk.name) was backed up only \(days.count) times")
            // Three daily ones, and those that a host which has never heard of them has not removed.
            #expect((3...4).contains(fleet.count(of: disk.name)), "\(disk.name): \(fleet.count(of: disk.name))")
        }
        let left = try fleet.leftovers
        #expect(left.isEmpty, "\(left.count): \(left.prefix(10))")
    }
}
