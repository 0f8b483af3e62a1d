package import BackupNames
package import Retention

/// What the agent begins now, and when it looks again: a value made of values.
package struct AgentPlan: Sendable, Hashable {
    /// A disk, and what is known of it.
    package struct Candidate: Sendable, Hashable {
        package let disk: DiskName
        package let decision: RunDecision
        package let lastGoodAt: Int64?
        /// One, or those of which one is chosen.
        package let targets: [ResourceName]
        /// Where its last run failed: chosen only where no other one is left.
        package let failedTarget: ResourceName?

        package init(
            disk: DiskName, decision: RunDecision, lastGoodAt: Int64?, targets: [ResourceName],
            failedTarget: ResourceName? = nil
        ) {
            self.disk = disk
            self.decision = decision
            self.lastGoodAt = lastGoodAt
            self.targets = targets
            self.failedTarget = failedTarget
        }
    }

    package struct Target: Sendable, Hashable {
        package let name: ResourceName
        /// Its store answers.
        package let isAvailable: Bool
        package let runningCount: Int
        /// Runs that went there of late, those under way among them.
        package let recentRunCount: Int

        package init(name: ResourceName, isAvailable: Bool, runningCount: Int, recentRunCount: Int) {
            self.name = name
            self.isAvailable = isAvailable
            self.runningCount = runningCount
            self.recentRunCount = recentRunCount
        }
    }

    package struct Limits: Sendable, Hashable {
        package let overall: Int
        package let perTarget: Int

        package init(overall: Int, perTarget: Int) {
            self.overall = overall
            self.perTarget = perTarget
        }
    }

    package struct Start: Sendable, Hashable {
        package let disk: DiskName
        package let target: ResourceName
        package let catchesUp: Bool
    }

    package let starts: [Start]
    /// The next moment at which time alone changes something; nil: never.
    package let wakesAt: Int64?
    /// Due, and none of their backends answers.
    package let waitingForTarget: [DiskName]

    /// Those that wait longest come first: who missed a run, then whose last good backup is oldest.
    ///
    /// - Parameters:
    ///   - candidates: none of those that run.
    ///   - runningCount: how many run.
    ///   - wakesAt: when those that are no candidates, for they wait, are to be looked at.
    package init(
        _ candidates: [Candidate], runningCount: Int, targets: [Target], limits: Limits, seed: UInt64,
        wakesAt: Int64? = nil
    ) {
        var wakesAt = wakesAt
        var due: [(candidate: Candidate, catchesUp: Bool)] = []
        for candidate in candidates {
            switch candidate.decision {
            case .off: break
            case .waits(let until, _): wakesAt = min(wakesAt ?? until, until)
            case .due(let catchesUp): due.append((candidate, catchesUp))
            }
        }
        due.sort { left, right in
            if left.catchesUp != right.catchesUp { return left.catchesUp }
            let (leftTime, rightTime) = (left.candidate.lastGoodAt ?? .min, right.candidate.lastGoodAt ?? .min)
            return leftTime == rightTime
                ? "\(left.candidate.disk)" < "\(right.candidate.disk)" : leftTime < rightTime
        }
        var standing = Dictionary(targets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var starts: [Start] = []
        var waiting: [DiskName] = []
        var count = runningCount
        for (candidate, catchesUp) in due {
            var own = candidate.targets.compactMap { standing[$0] }
            guard own.contains(where: \.isAvailable) else {
                waiting.append(candidate.disk)
                continue
            }
            guard count < limits.overall else { continue }
            let others = own.filter { $0.name != candidate.failedTarget }
            if others.contains(where: \.isAvailable) { own = others }
            let open = own.map {
                TargetSpread(
                    name: $0.name.description, recentRunCount: $0.recentRunCount,
                    isAvailable: $0.isAvailable && $0.runningCount < limits.perTarget)
            }
            guard let chosen = TargetSpread.choose(open, seed: seed &+ UInt64(starts.count)),
                let target = own.first(where: { $0.name.description == chosen })
            else { continue }
            standing[target.name] = Target(
                name: target.name, isAvailable: true, runningCount: target.runningCount + 1,
                recentRunCount: target.recentRunCount + 1)
            count += 1
            starts.append(Start(disk: candidate.disk, target: target.name, catchesUp: catchesUp))
        }
        self.starts = starts
        self.wakesAt = wakesAt
        waitingForTarget = waiting
    }
}
