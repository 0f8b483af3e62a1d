import BackupNames
import Catalog
import Testing

@Suite("Checks, damage and runs in the catalog", .timeLimit(.minutes(1)))
struct CheckAndRunTests {
    private let folder: TemporaryFolder
    private let catalog: Catalog
    private let record: BackupRecord

    init() throws {
        folder = try TemporaryFolder()
        catalog = try Catalog(path: folder.path + "/catalog.sqlite")
        record = try BackupRecord.sample()
        try catalog.register(record, finishing: nil)
    }

    @Test func `the last check of each depth is kept, and when it was last good`() throws {
        let identifier = record.identifier
        #expect(try catalog.checks(identifier).isEmpty)
        try catalog.noteCheck(identifier, .raw, at: 100, outcome: CheckRecord.good, detail: "")
        try catalog.noteCheck(identifier, .presence, at: 150, outcome: "notFound", detail: "gone")
        try catalog.noteCheck(identifier, .raw, at: 200, outcome: "damaged", detail: "frame 3")
        let checks = try catalog.checks(identifier)
        #expect(checks.map(\.depth) == [.presence, .raw])
        #expect(checks[0].goodAt == nil && !checks[0].isGood && checks[0].checkedAt == 150)
        #expect(checks[1].goodAt == 100 && checks[1].checkedAt == 200 && checks[1].detail == "frame 3")
        #expect(try catalog.allChecks() == [identifier: checks])
        try catalog.remove(identifier)
        try catalog.noteCheck(identifier, .raw, at: 300, outcome: CheckRecord.good, detail: "")
        #expect(try catalog.allChecks().isEmpty)
    }

    @Test func `damage is replaced as a whole`() throws {
        let identifier = record.identifier
        let damage = [
            DamageRecord(archiveRange: 10..<20, frame: 3, rawRange: 100..<200, foundAt: 5, detail: "bad"),
            DamageRecord(archiveRange: 30..<40, frame: nil, rawRange: 0..<0, foundAt: 5, detail: "worse"),
        ]
        try catalog.setDamage(identifier, damage)
        #expect(try catalog.damage(identifier) == damage)
        try catalog.setDamage(identifier, [])
        #expect(try catalog.damage(identifier).isEmpty)
    }

    @Test func `runs come newest first, and no more than a thousand and one of a disk`() throws {
        let identifier = record.identifier
        for index in 0..<1010 {
            try catalog.addRun(
                RunRecord(
                    kind: index % 2 == 0 ? .restore : .drill, identifier: identifier, startedAt: Int64(index),
                    outcome: RunRecord.good, detail: "", rawByteCount: 1, fetchedByteCount: 2, totalMilliseconds: 3))
        }
        let disk = DiskName(org: identifier.org, vm: identifier.vm, disk: identifier.disk)
        #expect(try catalog.runs(of: disk, limit: 3).map(\.startedAt) == [1009, 1008, 1007])
        #expect(try catalog.runs().count == 1010)
        try catalog.remove(identifier)
        #expect(try catalog.runs(of: disk).count == 1010, "what a restore took stays known")
    }

    @Test func `of drills that began in the same second the one written down last counts, an older one never`() throws {
        let identifier = record.identifier
        let disk = identifier.diskName
        func add(_ outcome: String, startedAt: Int64) throws {
            try catalog.addRun(
                RunRecord(
                    kind: .drill, identifier: identifier, startedAt: startedAt, outcome: outcome, detail: "",
                    rawByteCount: 1, fetchedByteCount: 2, totalMilliseconds: 3))
        }
        for outcome in ["damaged", RunRecord.good, "read", RunRecord.good, "damaged"] {
            try add(outcome, startedAt: 7)
            #expect(try catalog.newestDrills(onlyGood: false)[disk]?.outcome == outcome)
        }
        // As a merge with a catalog's copy brings it.
        try add(RunRecord.good, startedAt: 6)
        #expect(try catalog.newestDrills(onlyGood: false)[disk]?.outcome == "damaged")
        #expect(try catalog.newestDrills(onlyGood: true)[disk]?.startedAt == 7)
    }
}
