import BackupNames
internal import Catalog
import Foundation
import OrgKeys
import Storage
import StorageTesting
import Testing

@testable import BackupEngine

/// The rules of "Who wins" in CatalogCopy.md, by their numbers.
@Suite("Who wins where catalog, copies, sidecars and listings differ", .timeLimit(.minutes(2)))
struct CatalogMergeTests {
    private let bench: EngineBench
    private let acme: ResourceName

    init() throws {
        bench = try EngineBench()
        acme = try ResourceName("acme")
    }

    private func copy() throws { _ = bench.engine.copyCatalog(to: try bench.backend, .everything) }
    private func rebuild() throws -> RebuildResult { try bench.engine.rebuildCatalog(from: bench.backend) }
    private func restore() throws -> CatalogRestoreResult {
        try bench.engine.restoreCatalog(of: acme, from: [bench.backend])
    }

    private var rows: [BackupIdentifier] {
        get throws { try bench.engine.catalog.allBackups().map(\.identifier) }
    }

    private func delete(_ keys: String...) throws {
        for key in keys { try bench.memory.delete(ObjectKey(key)) }
    }

    /// Makes a row that contradicts its manifest.
    private func spoil(_ identifier: BackupIdentifier) throws {
        let catalog = bench.engine.catalog
        let good = try #require(try catalog.access(identifier))
        try catalog.remove(identifier)
        try catalog.register(
            BackupRecord(
                identifier: identifier, manifestJSON: good.manifestJSON, archiveHeader: good.archiveHeader,
                seekTable: good.seekTable + [0], rawByteCount: good.rawByteCount,
                archiveByteCount: good.archiveByteCount, dataByteCount: good.dataByteCount, createdAt: good.createdAt,
                generation: good.generation), finishing: nil)
        #expect(bench.code { _ = try bench.engine.authenticManifest(of: identifier) } == .catalog)
    }

    @Test func `1: no row, a sidecar whose archive proves right: the sidecar`() throws {
        let identifiers = try [bench.backUp(testImage(2000, seed: 1)), bench.backUp(testImage(2000, seed: 2))]
        try bench.tamper(identifiers[1].archiveKey) { $0.removeLast() }
        try bench.reopen(forgetsCatalog: true)
        let result = try rebuild()
        #expect(result.registered == [identifiers[0]])
        #expect(result.refused.map(\.error.code) == [.truncated])
    }

    @Test func `2: an authentic row, a sidecar of its generation: the row, and the sidecar is not even read`() throws {
        let identifier = try bench.backUp(testImage(2000, seed: 1))
        let before = try bench.engine.catalog.access(identifier)
        try bench.tamper(identifier.manifestKey) { $0 = [1, 2, 3] }
        #expect(try rebuild().known == [identifier])
        #expect(try bench.engine.catalog.access(identifier) == before)
    }

    @Test func `3: a row that is not authentic: the sidecar, or the copy`() throws {
        let identifiers = try [bench.backUp(testImage(2000, seed: 1)), bench.backUp(testImage(2000, seed: 2))]
        try copy()
        for identifier in identifiers { try spoil(identifier) }
        try delete(identifiers[1].manifestKey)
        #expect(try rebuild().registered == [identifiers[0]])
        #expect(try restore().registered == [identifiers[1]])
        for (identifier, seed) in zip(identifiers, [UInt64(1), 2]) {
            #expect(try bench.restore(identifier) == testImage(2000, seed: seed))
        }
    }

    @Test func `4: the row is of an earlier generation: the sidecar or copy of the later one, once it proves right`()
        throws
    {
        let identifier = try bench.backUp(testImage(2000, seed: 1))
        let early = try #require(try bench.engine.catalog.access(identifier))
        _ = try bench.engine.keys.rotate(acme, createdAt: "2026-11-22T00:00:00Z")
        _ = try bench.engine.rewrap(identifier)
        let late = try #require(try bench.engine.catalog.access(identifier))
        #expect(late.generation > early.generation)
        try copy()
        for takes in [{ _ = try rebuild() }, { _ = try restore() }] {
            try bench.engine.catalog.remove(identifier)
            try bench.engine.catalog.register(early, finishing: nil)
            try takes()
            #expect(try bench.engine.catalog.access(identifier)?.generation == late.generation)
        }
    }

    @Test func `5: a copy of an earlier generation than the row: the row`() throws {
        let identifier = try bench.backUp(testImage(2000, seed: 1))
        try copy()
        _ = try bench.engine.keys.rotate(acme, createdAt: "2026-11-22T00:00:00Z")
        _ = try bench.engine.rewrap(identifier)
        let row = try bench.engine.catalog.access(identifier)
        #expect(try restore().known == [identifier])
        #expect(try bench.engine.catalog.access(identifier) == row)
    }

    @Test func `6: a row whose archive or sidecar is gone: the row stays, and a rebuild reports it`() throws {
        let identifiers = try (0..<4).map { try bench.backUp(testImage(2000, seed: $0)) }
        try delete(identifiers[0].archiveKey, identifiers[0].manifestKey)
        try delete(identifiers[1].manifestKey)
        try delete(identifiers[2].archiveKey)
        let result = try rebuild()
        #expect(result.gone.map(\.identifier) == Array(identifiers[..<3]))
        #expect(result.gone.map(\.error.code) == [.notFound, .sidecarMissing, .notFound])
        #expect(try rows == identifiers)
        // And it is remembered as what a check found.
        #expect(try bench.engine.catalog.checks(identifiers[0]).map(\.outcome) == ["notFound"])
    }

    @Test func `7: no row, a copy that names it: the copy, if the archive is there and proves right`() throws {
        let identifiers = try [bench.backUp(testImage(2000, seed: 1)), bench.backUp(testImage(2000, seed: 2))]
        try copy()
        // Removed on purpose, and so not brought back.
        try bench.engine.remove(identifiers[1])
        try bench.engine.catalog.remove(identifiers[0])
        let result = try restore()
        #expect(result.registered == [identifiers[0]])
        #expect(result.refused.map(\.error.code) == [.notFound])
        #expect(try rows == [identifiers[0]])
    }

    @Test
    func `8: a check that is later wins, wherever it is; damage that a later check did not find is not taken over`()
        throws
    {
        let identifiers = try [bench.backUp(testImage(2000, seed: 1)), bench.backUp(testImage(2000, seed: 2))]
        let catalog = bench.engine.catalog
        for identifier in identifiers {
            try catalog.noteCheck(identifier, .raw, at: 200, outcome: "damaged", detail: "copied")
            try catalog.setDamage(
                identifier, [DamageRecord(archiveRange: 1..<2, frame: 0, rawRange: 0..<9, foundAt: 200, detail: "x")])
        }
        try copy()
        try catalog.noteCheck(identifiers[0], .raw, at: 300, outcome: CheckRecord.good, detail: "later")
        try catalog.noteCheck(identifiers[1], .raw, at: 100, outcome: CheckRecord.good, detail: "earlier")
        for identifier in identifiers { try catalog.setDamage(identifier, []) }
        _ = try restore()
        #expect(try catalog.checks(identifiers[0]).map(\.detail) == ["later"])
        #expect(try catalog.damage(identifiers[0]).isEmpty)
        #expect(try catalog.checks(identifiers[1]).map(\.detail) == ["copied"])
        #expect(try catalog.damage(identifiers[1]).count == 1)
    }

    @Test func `9: runs are all kept, each once`() throws {
        let identifier = try bench.backUp(testImage(2000, seed: 1))
        let catalog = bench.engine.catalog
        func run(_ time: Int64) throws {
            try catalog.addRun(
                RunRecord(
                    kind: .drill, identifier: identifier, startedAt: time, outcome: RunRecord.good, detail: "",
                    rawByteCount: 5, fetchedByteCount: 6, totalMilliseconds: 7))
        }
        try run(100)
        try run(200)
        try copy()
        try bench.reopen(forgetsCatalog: true)
        try bench.engine.catalog.addRun(
            RunRecord(
                kind: .drill, identifier: identifier, startedAt: 300, outcome: RunRecord.good, detail: "",
                rawByteCount: 5, fetchedByteCount: 6, totalMilliseconds: 7))
        for _ in 0..<2 {
            _ = try restore()
            #expect(try bench.engine.catalog.runs().map(\.startedAt) == [300, 200, 100])
        }
    }

    @Test func `10: what this host makes or removes right now: its journal`() throws {
        let identifier = try bench.backUp(testImage(2000, seed: 1))
        try copy()
        try bench.engine.catalog.remove(identifier)
        let entry = try bench.engine.openJournalEntry(
            for: BackupPlace(identifier, generation: 0), on: bench.backend, .remove)
        #expect(try rebuild().registered.isEmpty && restore().registered.isEmpty && rows.isEmpty)
        try bench.engine.catalog.endUpload(entry)
        #expect(try rebuild().registered == [identifier])
    }
}
