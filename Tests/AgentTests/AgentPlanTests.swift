import Agent
import BackupNames
import Retention
import Testing

@Suite("What an agent begins")
struct AgentPlanTests {
    private let limits = AgentPlan.Limits(overall: 3, perTarget: 2)

    private func disk(_ name: String) throws -> DiskName {
        DiskName(org: try ResourceName("acme"), vm: try ResourceName(name), disk: try ResourceName("disk"))
    }

    private func candidate(
        _ name: String, _ decision: RunDecision = .due(catchesUp: false), lastGoodAt: Int64? = nil,
        targets: [String] = ["a"], failed: String? = nil
    ) throws -> AgentPlan.Candidate {
        AgentPlan.Candidate(
            disk: try disk(name), decision: decision, lastGoodAt: lastGoodAt,
            targets: try targets.map { try ResourceName($0) }, failedTarget: try failed.map { try ResourceName($0) })
    }

    private func target(
        _ name: String, isAvailable: Bool = true, running: Int = 0, recent: Int = 0
    ) throws -> AgentPlan.Target {
        AgentPlan.Target(
            name: try ResourceName(name), isAvailable: isAvailable, runningCount: running, recentRunCount: recent)
    }

    private func started(_ plan: AgentPlan) -> [String] { plan.starts.map { "\($0.disk.vm):\($0.target)" } }

    @Test func `who missed a run comes first, then whose last good backup is oldest`() throws {
        let plan = AgentPlan(
            [
                try candidate("new", lastGoodAt: 90), try candidate("never"), try candidate("old", lastGoodAt: 5),
                try candidate("late", .due(catchesUp: true), lastGoodAt: 80),
            ], runningCount: 0, targets: [try target("a")], limits: AgentPlan.Limits(overall: 9, perTarget: 9), seed: 1)
        #expect(started(plan) == ["late:a", "never:a", "old:a", "new:a"])
        #expect(plan.starts.map(\.catchesUp) == [true, false, false, false])
    }

    @Test func `caps hold, overall and for each backend, with what is under way`() throws {
        let all = try (0..<9).map { try candidate("vm\($0)", targets: ["a", "b"]) }
        let idle = AgentPlan(
            all, runningCount: 0, targets: [try target("a"), try target("b")], limits: limits, seed: 1)
        #expect(idle.starts.count == 3 && Set(idle.starts.map(\.target)).count == 2)
        let busy = AgentPlan(
            all, runningCount: 1, targets: [try target("a", running: 1), try target("b")], limits: limits,
            seed: 1)
        #expect(busy.starts.count == 2)
        let one = try (0..<9).map { try candidate("vm\($0)") }
        let full = AgentPlan(
            one, runningCount: 2, targets: [try target("a", running: 2)], limits: limits,
            seed: 1)
        #expect(full.starts.isEmpty)
    }

    @Test func `random goes to the backend that had the fewest, and never to one that is away`() throws {
        let disks = [try candidate("vm", targets: ["a", "b", "c"])]
        let targets = [
            try target("a", recent: 7), try target("b", isAvailable: false, recent: 0), try target("c", recent: 6),
        ]
        #expect(started(AgentPlan(disks, runningCount: 0, targets: targets, limits: limits, seed: 1)) == ["vm:c"])
        let away = try ["a", "b", "c"].map { try target($0, isAvailable: false) }
        let none = AgentPlan(disks, runningCount: 0, targets: away, limits: limits, seed: 1)
        #expect(try none.starts.isEmpty && none.waitingForTarget == [disk("vm")])
    }

    @Test func `where a run failed another backend is tried, if there is one`() throws {
        let targets = [try target("a"), try target("b", recent: 9)]
        let choosy = [try candidate("vm", targets: ["a", "b"], failed: "a")]
        #expect(started(AgentPlan(choosy, runningCount: 0, targets: targets, limits: limits, seed: 1)) == ["vm:b"])
        let bound = [try candidate("vm", targets: ["a"], failed: "a")]
        #expect(started(AgentPlan(bound, runningCount: 0, targets: targets, limits: limits, seed: 1)) == ["vm:a"])
        let alone = [try target("a"), try target("b", isAvailable: false)]
        #expect(started(AgentPlan(choosy, runningCount: 0, targets: alone, limits: limits, seed: 1)) == ["vm:a"])
    }

    @Test func `it wakes when the first of those that wait is due`() throws {
        let plan = AgentPlan(
            [
                try candidate("x", .waits(until: 70, .window)), try candidate("y", .waits(until: 50, .moment)),
                try candidate("z", .off),
            ], runningCount: 0, targets: [try target("a")], limits: limits, seed: 1)
        #expect(plan.wakesAt == 50 && plan.starts.isEmpty)
        let off = AgentPlan([try candidate("z", .off)], runningCount: 0, targets: [], limits: limits, seed: 1)
        #expect(off.wakesAt == nil)
    }
}
