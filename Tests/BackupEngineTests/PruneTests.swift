import BackupEngine
import BackupNames
import Catalog
import Foundation
import Retention
import Storage
import StorageTesting
import Testing

@Suite("Retention, carried out", .timeLimit(.minutes(2)))
struct PruneTests {
    private func plans(_ bench: EngineBench, _ policy: RetentionPolicy = .basic) throws -> [DiskPrune] {
        try bench.engine.prunePlans { disk in disk.org.description == "free" ? nil : (policy, .gmt) }
    }

    @discardableResult
    private func prune(_ bench: EngineBench, _ policy: RetentionPolicy = .basic, force: Bool = true) throws
        -> [PruneOutcome]
    {
        try bench.engine.prune(plans(bench, policy), maximumShare: 0.5, isForced: force)
    }

    /// One backup a day; verified as an agent would.
    private func days(_ count: Int, _ bench: EngineBench, check: Bool = true) throws -> [BackupIdentifier] {
        try (0..<count).map { day in
            bench.clock.advance(86_400)
            let identifier = try bench.backUp(testImage(2000, seed: UInt64(day)))
            if check { _ = try bench.engine.check(identifier, .presence) }
            return identifier
        }
    }

    private func standing(_ bench: EngineBench) throws -> [BackupIdentifier] {
        try bench.engine.catalog.allBackups().map(\.identifier)
    }

    @Test func `what no class keeps goes, object, sidecar and row, and what is kept opens`() throws {
        let bench = try EngineBench()
        let made = try days(6, bench)
        let outcomes = try prune(bench)
        #expect(outcomes.map(\.backup.identifier) == Array(made[..<3]))
        #expect(outcomes.allSatisfy { $0.error == nil && $0.billedDays > 24 && $0.billedDays <= 30 })
        #expect(try standing(bench) == Array(made[3...]))
        #expect(bench.memory.keys.count == 6)
        for identifier in made[3...] { #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil) }
        #expect(try prune(bench).isEmpty)
    }

    @Test func `nobody's disk, and backups that are elsewhere, are left alone`() throws {
        let bench = try EngineBench(orgs: ["acme", "free"])
        for _ in 0..<5 {
            bench.clock.advance(86_400)
            _ = try bench.backUp(testImage(1000, seed: 1), as: bench.disk("free"))
        }
        #expect(try prune(bench).isEmpty && prune(bench, .off).isEmpty)
        #expect(try standing(bench).count == 5)
    }

    @Test func `what nobody has looked at is looked at first, and counts for nothing while it cannot be`() throws {
        let bench = try EngineBench()
        let made = try days(5, bench, check: false)
        bench.store.failOperation(0, .forGood)
        #expect(try plans(bench)[0].plan.removed.isEmpty)
        bench.store.heal()
        #expect(try plans(bench)[0].plan.removed.map(\.id) == [made[1], made[0]].map(\.date))
    }

    @Test func `what is gone behind our back counts for nothing: what it would have replaced stays`() throws {
        let bench = try EngineBench()
        let made = try days(5, bench)
        // Long enough ago that what the plan relies on is looked at again.
        bench.clock.advance(30 * 86_400)
        for identifier in made[2...] { try bench.memory.delete(ObjectKey(identifier.archiveKey)) }
        let plan = try plans(bench)[0].plan
        #expect(plan.kept.map(\.id).contains(made[1].date) && plan.kept.map(\.id).contains(made[0].date))
        // Those that are newer than anything good stay, too: somebody may want what is left of them.
        #expect(plan.removed.isEmpty)
        // A newer good one lets them go.
        let fresh = try days(1, bench)[0]
        #expect(Set(try plans(bench)[0].plan.removed.map(\.id)) == Set(made[2...].map(\.date)))
        try prune(bench)
        #expect(try standing(bench) == [made[0], made[1], fresh])
        #expect(bench.memory.keys.count == 6)
    }

    @Test func `copies at several backends are one point, and go together`() throws {
        let bench = try EngineBench()
        let made = try days(4, bench)
        let other = try bench.engine.backend(ResourceName("other"))
        for identifier in made { _ = try bench.engine.replicate(identifier, to: other.name) }
        try prune(bench)
        #expect(try Set(standing(bench)) == Set(made[1...] + made[1...].map { $0.at(other.name) }))
        #expect(bench.memory.keys.count == 6 && bench.otherMemory.keys.count == 6)
    }

    @Test func `a hold, and a lock, keep what a policy drops, and are told`() throws {
        let bench = try EngineBench()
        let made = try days(6, bench)
        try bench.engine.hold(made[0], reason: "case 12")
        bench.memory.setLockClock(bench.clock.secondsSince1970)
        try bench.memory.lock(ObjectKey(made[1].archiveKey), until: bench.clock.secondsSince1970 + 86_400)
        let outcomes = try prune(bench)
        #expect(outcomes.map(\.backup.identifier) == [made[1], made[2]])
        #expect(outcomes.map { $0.error?.code } == [.held, nil])
        let entries = try plans(bench)[0].plan.entries
        #expect(entries.filter(\.isSpared).map(\.point.id) == [made[1].date, made[0].date])
        #expect(try prune(bench).isEmpty)
    }

    @Test func `a plan that drops too much is refused as a whole`() throws {
        let bench = try EngineBench()
        let made = try days(24, bench)
        let code = bench.code { try prune(bench, .basic, force: false) }
        #expect(code == .held)
        #expect(try standing(bench) == made)
        #expect(try prune(bench, .basic, force: true).count == 21)
    }

    @Test(
        arguments: [FaultInjectingStore.Persistence.once, .forGood],
        [FaultInjectingStore.Moment.beforeEffect, .afterEffect]
    )
    func `a prune that ends anywhere is finished by the next, and what is kept is whole`(
        persistence: FaultInjectingStore.Persistence, moment: FaultInjectingStore.Moment
    ) throws {
        var operation = 0
        while true {
            let bench = try EngineBench()
            let made = try days(5, bench)
            bench.store.resetCounts()
            bench.store.failOperation(operation, persistence, moment)
            let failed = try prune(bench).contains { $0.error != nil }
            let struck = bench.store.faultCount > 0
            let what = "operation \(operation) \(persistence) \(moment)"
            #expect(failed == struck, "\(what)")
            bench.store.heal()
            try bench.reopen()
            try bench.engine.cleanUpAfterCrash()
            try prune(bench)
            #expect(try standing(bench) == Array(made[2...]), "\(what)")
            #expect(bench.memory.keys.count == 6, "\(what)")
            for identifier in made[2...] {
                #expect(bench.code { _ = try bench.engine.verify(identifier, .raw) } == nil)
            }
            if !struck { break }
            operation += 1
        }
        #expect(operation >= 6)
    }

    @Test func `what another host has removed by the same policy keeps nobody from going on, and a loss still does`()
        throws
    {
        let bench = try EngineBench()
        let all = try days(24, bench)
        func remove(_ identifiers: some Sequence<BackupIdentifier>) throws {
            for identifier in identifiers {
                try bench.memory.delete(ObjectKey(identifier.archiveKey))
                try bench.memory.delete(ObjectKey(identifier.manifestKey))
            }
        }
        // Most of all would go.
        #expect(bench.code { try prune(bench, force: false) } == .held)
        // Somebody has carried out retention up to six days ago.
        try remove(all.prefix(18))
        #expect(try prune(bench, force: false).count == 21)
        #expect(try bench.engine.catalog.allBackups().map(\.identifier.date) == all.suffix(3).map(\.date))

        // The same where what retention keeps is gone: nobody who carries it out did that.
        let more = try days(24, bench)
        bench.clock.advance(8 * 86_400)
        try remove(more.prefix(23))
        #expect(bench.code { try prune(bench, RetentionPolicy(daily: 20), force: false) } == .held)
        #expect(try bench.engine.catalog.allBackups().count == 27)
    }
}
