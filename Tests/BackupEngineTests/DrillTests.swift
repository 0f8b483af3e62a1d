import BackupEngine
import BackupNames
internal import Catalog
internal import CryptoPrimitives
import Foundation
internal import Manifest
internal import OrgKeys
import Storage
import StorageTesting
import Testing

@Suite("Drills", .timeLimit(.minutes(1)))
struct DrillTests {
    @Test func `a drill is measured by phase and written down, and is a check of the backup`() throws {
        let bench = try EngineBench()
        let image = testImage(1_500_000, seed: 5)
        let identifier = try bench.backUp(image)
        let before = bench.store.operationCount
        let report = try bench.engine.drill(identifier, to: .null)
        #expect(bench.store.operationCount > before, "a drill reads the backend")
        let record = report.record
        #expect(report.failure == nil && record.isGood && record.kind == .drill && record.identifier == identifier)
        #expect(record.rawByteCount == 1_500_000 && record.startedAt == bench.clock.secondsSince1970)
        let stored = try #require(bench.memory.bytes(of: ObjectKey(identifier.archiveKey)))
        #expect(record.fetchedByteCount == UInt64(stored.count), "each byte once")
        #expect(record.checksJSON == "{}")
        #expect((0...record.totalMilliseconds).contains(record.openMilliseconds))
        #expect(try bench.engine.catalog.runs(of: bench.disk()) == [record])
        let checks = try bench.engine.catalog.checks(identifier)
        #expect(checks.map(\.depth) == [.raw] && checks.allSatisfy(\.isGood))
    }

    @Test func `a scratch image is written and nothing of it stays`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(3_000_000, seed: 6))
        let scratch = bench.folder + "/scratch"
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        var seen: [String] = []
        let report = try bench.engine.drill(
            identifier, to: .scratch(folder: scratch, capByteCount: 3_000_000),
            progress: { _, _ in seen += try FileManager.default.contentsOfDirectory(atPath: scratch) })
        #expect(report.record.isGood)
        #expect(seen.isEmpty, "it never had a name")
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch).isEmpty)
    }

    @Test func `an image that has no room under the cap is refused before anything is fetched, and no drill`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp([UInt8](repeating: 7, count: 1_000_000))
        let before = bench.store.operationCount
        for (folder, cap) in [(bench.folder, UInt64(999_999)), (bench.folder + "/absent", 1 << 30)] {
            let code = bench.code {
                _ = try bench.engine.drill(identifier, to: .scratch(folder: folder, capByteCount: cap))
            }
            #expect(code == (cap == 999_999 ? .targetTooSmall : .target))
        }
        #expect(bench.store.operationCount == before)
        #expect(try bench.engine.catalog.runs().isEmpty && bench.engine.catalog.checks(identifier).isEmpty)
    }

    @Test func `holes need no room in the scratch folder`() throws {
        let bench = try EngineBench()
        let image = [UInt8](repeating: 1, count: 100_000) + [UInt8](repeating: 0, count: 20_000_000)
        let identifier = try bench.backUp(image)
        #expect(
            try bench.engine.drill(identifier, to: .scratch(folder: bench.folder, capByteCount: 1 << 18)).record.isGood)
    }

    @Test func `damage is what the drill finds, the catalog knows, and no RTO is told from`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(500_000, seed: 7))
        try bench.tamper(identifier.archiveKey) { $0[$0.count / 2] ^= 1 }
        let report = try bench.engine.drill(identifier, to: .null)
        #expect(report.failure?.code == .damaged)
        #expect(report.record.outcome == "damaged" && !report.record.detail.isEmpty)
        let checks = try bench.engine.catalog.checks(identifier)
        #expect(checks.map(\.outcome) == ["damaged"])
        #expect(BackupHealth.finding(checks)?.outcome == "damaged")
        #expect(try bench.engine.catalog.newestDrills(onlyGood: true).isEmpty)
        #expect(try bench.engine.catalog.newestDrills(onlyGood: false)[bench.disk()] == report.record)
        #expect(try bench.engine.catalog.goodRuns(at: bench.backendName, limit: 20).isEmpty)
    }

    @Test func `a backend that is away fails the drill and says nothing of the backup`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(500_000, seed: 8))
        bench.memory.setAvailable(false)
        let report = try bench.engine.drill(identifier, to: .null)
        #expect(report.failure?.code == .backendUnavailable)
        #expect(try bench.engine.catalog.runs().count == 1)
        #expect(try bench.engine.catalog.checks(identifier).isEmpty)
    }

    @Test func `what a check finds makes the drill a failed one and is kept as JSON`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(50_000, seed: 9))
        let checks = [
            DrillCheck(check: "e2fsck", file: "disk.raw.p1", outcome: .needsRecovery, milliseconds: 3, detail: ""),
            DrillCheck(check: "fsck.vfat", file: "disk.raw.p2", outcome: .bad, milliseconds: 4, detail: "a \"b\"\n"),
            DrillCheck(check: "xfs_repair", file: "x", outcome: .notChecked, milliseconds: 0, detail: "not installed"),
        ]
        let report = try bench.engine.drill(identifier, to: .null, checks: { _ in checks })
        #expect(report.failure == nil && report.record.outcome == DrillReport.checkFailed)
        #expect(report.record.detail.contains("fsck.vfat of disk.raw.p2"))
        let json = try #require(try bench.engine.catalog.runs().first?.checksJSON)
        let stored = try JSONDecoder().decode([String: [DrillCheck]].self, from: Data(json.utf8))
        #expect(stored == ["checks": checks])
        #expect(BackupHealth.finding(try bench.engine.catalog.checks(identifier)) == nil, "the restore was right")
        let good = try bench.engine.drill(identifier, to: .null, checks: { _ in [checks[0], checks[2]] })
        #expect(good.record.isGood)
    }

    @Test func `an image that is not the one its authentic manifest names is damage`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(90_000, seed: 11))
        let record = try #require(try bench.engine.catalog.access(identifier))
        let key = try bench.engine.key(of: identifier.org).currentSealKey
        var manifest = try Manifest(verifying: record.manifestJSON, sealKeys: [key])
        manifest.rawSHA256 = SHA256Hasher.digest(of: [1, 2, 3])
        try bench.engine.catalog.remove(identifier)
        try bench.engine.catalog.register(
            BackupRecord(
                identifier: identifier, manifestJSON: manifest.sealed(with: key), archiveHeader: record.archiveHeader,
                seekTable: record.seekTable, rawByteCount: record.rawByteCount,
                archiveByteCount: record.archiveByteCount, dataByteCount: record.dataByteCount,
                createdAt: record.createdAt), finishing: nil)
        let report = try bench.engine.drill(identifier, to: .null)
        #expect(report.failure?.code == .damaged && report.failure?.detail.contains("SHA-256") == true)
    }

    @Test func `a host without a key that reads has drilled nothing`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(90_000, seed: 12))
        try FileManager.default.removeItem(atPath: bench.folder + "/keys/acme.agekey")
        #expect(bench.code { _ = try bench.engine.drill(identifier, to: .null) } == .noKey)
        #expect(try bench.engine.catalog.runs().isEmpty)
    }

    @Test func `a drill that is cancelled is no result`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(90_000, seed: 13))
        for inCheck in [false, true] {
            let code = bench.code {
                _ = try bench.engine.drill(
                    identifier, to: .null,
                    checks: { _ throws(EngineError) in throw EngineError(.cancelled, "enough") },
                    progress: { _, _ in if !inCheck { throw EngineError(.cancelled, "enough") } })
            }
            #expect(code == .cancelled)
        }
        #expect(try bench.engine.catalog.runs().isEmpty)
    }

    @Test func `an unknown backup is no drill`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp([1])
        try bench.engine.remove(identifier)
        #expect(bench.code { _ = try bench.engine.drill(identifier, to: .null) } == .notFound)
        #expect(try bench.engine.catalog.runs().isEmpty)
    }

    @Test func `restores are written down, but not those that their target refuses`() throws {
        let bench = try EngineBench()
        let identifier = try bench.backUp(testImage(400_000, seed: 10))
        let (engine, path) = (bench.engine, bench.folder + "/restored.raw")
        func restore() throws {
            _ = try engine.recordingRestore(of: identifier) { try engine.restore(identifier, to: path) }
        }
        try restore()
        let run = try #require(try engine.catalog.runs().first)
        #expect(run.kind == .restore && run.isGood && run.rawByteCount == 400_000 && run.fetchedByteCount > 0)
        #expect(bench.code(restore) == .targetInUse)
        #expect(try engine.catalog.runs().count == 1)
        try FileManager.default.removeItem(atPath: path)
        try bench.tamper(identifier.archiveKey) { $0[$0.count / 2] ^= 1 }
        #expect(bench.code(restore) == .damaged)
        #expect(try engine.catalog.runs().map(\.outcome) == ["damaged", "good"])
        #expect(try engine.catalog.goodRuns(at: bench.backendName, limit: 20) == [run])
        #expect(try engine.catalog.newestDrills(onlyGood: false).isEmpty, "a restore is no drill")
    }
}

@Suite("Which drill is due")
struct DrillScheduleTests {
    private func backup(_ vm: String, _ createdAt: Int64, backend: String = "a", org: String = "o") throws
        -> BackupSummary
    {
        BackupSummary(
            identifier: BackupIdentifier(
                backend: try ResourceName(backend), org: try ResourceName(org), vm: try ResourceName(vm),
                date: BackupDate(secondsSince1970: createdAt), disk: try ResourceName("disk")),
            rawByteCount: 1, archiveByteCount: 1, dataByteCount: 1, createdAt: createdAt)
    }

    private func due(_ candidates: [DrillSchedule.Candidate], now: Int64, every: Int64?) -> [String] {
        DrillSchedule.due(candidates, now: now) { _ in every }.map { "\($0.backup.identifier.vm)" }
    }

    @Test func `a disk without a drill is due, and one whose drill is as old as the interval`() throws {
        let candidates = [
            DrillSchedule.Candidate(backup: try backup("never", 50), lastGood: nil, lastTried: nil),
            DrillSchedule.Candidate(backup: try backup("old", 40), lastGood: 10, lastTried: 10),
            DrillSchedule.Candidate(backup: try backup("fresh", 30), lastGood: 11, lastTried: 11),
        ]
        #expect(due(candidates, now: 110, every: 100) == ["never", "old"])
        #expect(due(candidates, now: 109, every: 100) == ["never"])
        #expect(due(candidates, now: 1_000_000, every: nil) == [])
    }

    @Test func `what was not tried for longest comes first, so that one that fails keeps no other from its turn`()
        throws
    {
        let candidates = [
            DrillSchedule.Candidate(backup: try backup("failing", 1), lastGood: nil, lastTried: 90),
            DrillSchedule.Candidate(backup: try backup("old", 2), lastGood: 20, lastTried: 20),
            DrillSchedule.Candidate(backup: try backup("older", 3), lastGood: 10, lastTried: 10),
            DrillSchedule.Candidate(backup: try backup("new-b", 5), lastGood: nil, lastTried: nil),
            DrillSchedule.Candidate(backup: try backup("new-a", 4), lastGood: nil, lastTried: nil),
        ]
        for candidates in [candidates, candidates.reversed()] {
            #expect(due(candidates, now: 1000, every: 1) == ["new-a", "new-b", "older", "old", "failing"])
        }
    }

    @Test func `the newest backup of a disk stands for it, of copies the first backend's`() throws {
        let backups = [
            try backup("v", 10, backend: "a"), try backup("v", 20, backend: "c"), try backup("v", 20, backend: "b"),
            try backup("v", 5, backend: "a", org: "other"),
        ]
        for backups in [backups, backups.reversed()] {
            let found = Set(DrillSchedule.candidates(backups, good: [:], tried: [:]).map(\.backup))
            #expect(found == [backups.first { "\($0.identifier.backend)" == "b" }!, try backup("v", 5, org: "other")])
        }
    }

    @Test func `the drills of the catalog decide, those that failed for the order alone`() throws {
        let bench = try EngineBench(orgs: ["acme", "other"])
        let first = try bench.backUp(testImage(10_000, seed: 1), as: bench.disk("acme", "one"))
        let second = try bench.backUp(testImage(10_000, seed: 2), as: bench.disk("acme", "two"))
        let other = try bench.backUp(testImage(10_000, seed: 3), as: bench.disk("other", "one"))
        let interval: (ResourceName) -> Int64? = { "\($0)" == "acme" ? 1000 : nil }
        #expect(try bench.engine.dueDrills(interval: interval) == [first, second])
        #expect(try bench.engine.newestBackups(of: ResourceName("other")) == [other])
        _ = try bench.engine.drill(first, to: .null)
        #expect(try bench.engine.dueDrills(interval: interval) == [second])
        try bench.tamper(second.archiveKey) { $0[$0.count / 2] ^= 1 }
        bench.clock.advance(1)
        _ = try bench.engine.drill(second, to: .null)
        #expect(try bench.engine.dueDrills(interval: interval) == [second])
        bench.clock.advance(1000)
        #expect(try bench.engine.dueDrills(interval: interval) == [first, second])
    }
}

@Suite("Whether a backup is good")
struct BackupHealthTests {
    private func check(_ depth: CheckDepth, _ at: Int64, _ outcome: String, good: Int64? = nil) -> CheckRecord {
        CheckRecord(depth: depth, checkedAt: at, goodAt: outcome == "good" ? at : good, outcome: outcome, detail: "")
    }

    @Test func `one that nobody has looked at is, and one whose checks were all good`() {
        #expect(BackupHealth.finding([]) == nil && BackupHealth.verifiedAt([]) == nil)
        let checks = [check(.presence, 9, "good"), check(.archive, 5, "good"), check(.raw, 7, "good")]
        #expect(BackupHealth.finding(checks) == nil)
        #expect(BackupHealth.verifiedAt(checks) == 7, "that something is there verifies nothing")
    }

    @Test func `a bad check of any depth makes it bad, until one that looked at no less was good`() {
        #expect(BackupHealth.finding([check(.raw, 5, "damaged"), check(.presence, 9, "good")])?.depth == .raw)
        #expect(BackupHealth.finding([check(.raw, 5, "damaged"), check(.archive, 9, "good")])?.depth == .raw)
        #expect(BackupHealth.finding([check(.archive, 5, "damaged"), check(.raw, 9, "good")]) == nil)
        #expect(BackupHealth.finding([check(.archive, 9, "damaged"), check(.raw, 5, "good")])?.depth == .archive)
        #expect(BackupHealth.finding([check(.raw, 5, "damaged", good: 3)])?.checkedAt == 5)
        #expect(BackupHealth.verifiedAt([check(.raw, 5, "damaged", good: 3)]) == 3)
    }

    @Test func `a check that could not be made says nothing, and an unknown outcome the worst`() {
        for code in ["backendUnavailable", "noKey", "cancelled", "busy", "catalog"] {
            #expect(BackupHealth.finding([check(.raw, 5, code)]) == nil, "\(code)")
        }
        for code in ["damaged", "notFound", "swapped", "something new"] {
            #expect(BackupHealth.finding([check(.presence, 5, code)])?.outcome == code)
        }
    }
}
