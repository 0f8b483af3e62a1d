import BackupNames
import Catalog
import Foundation
import GRDB
import Testing

/// The folder that holds `Tests` and `Sources`.
private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

@Suite("Sample catalogs of released versions", .timeLimit(.minutes(1)))
struct SampleCatalogTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func sample(_ version: String) throws -> Catalog {
        let path = folder.path + "/catalog.sqlite"
        try FileManager.default.copyItem(
            atPath: root.appendingPathComponent("Tests/SampleArchives/\(version)/catalog.sqlite").path, toPath: path)
        return try Catalog(path: path)
    }

    @Test(arguments: ["v1", "catalog-v2"])
    func `the catalog of every released version opens with all it holds`(_ version: String) throws {
        let sample = root.appendingPathComponent("Tests/SampleArchives/v1")
        let catalog = try self.sample(version)
        let summary = try #require(try catalog.allBackups().first)
        #expect(try catalog.allBackups().count == 1)
        #expect(summary.identifier.description == "local:sample/vm1/2026-11-23T01-38-00Z/disk")
        #expect(summary.rawByteCount == 5_243_657)
        #expect(summary.dataByteCount == 2_097_929)
        let archive = try Data(contentsOf: sample.appendingPathComponent("disk.raw.zst.age"))
        #expect(summary.archiveByteCount == UInt64(archive.count))
        let record = try #require(try catalog.access(summary.identifier))
        #expect(archive.starts(with: record.archiveHeader))
        #expect(record.archiveHeader.count == 184)
        #expect(record.seekTable.count == 77)
        #expect(String(decoding: record.manifestJSON, as: UTF8.self).contains("\"raw_size\": 5243657"))
        #expect(try catalog.folders().map { $0.vm?.description ?? "-" } == ["-", "vm2"])
        #expect(try Set(catalog.uploads().map(\.uploadIdentifier)) == ["u"])
        try catalog.checkIntegrity()
    }

    @Test func `a catalog of version 2 keeps its checks and runs`() throws {
        let catalog = try sample("catalog-v2")
        let backup = try #require(try catalog.allBackups().first)
        #expect(backup.lockedUntil == nil && backup.generation == 0)
        let checks = try catalog.allChecks()[backup.identifier] ?? []
        #expect(Set(checks.map(\.depth)) == [.presence, .archive, .raw])
        #expect(checks.allSatisfy { $0.outcome == CheckRecord.good })
        #expect(try catalog.runs().map(\.kind) == [.drill])
        #expect(try catalog.refusedSidecars(at: backup.identifier.backend).count == 1)
        #expect(try catalog.removingBackups().isEmpty && catalog.holds().isEmpty && catalog.backupRuns().isEmpty)
    }

    @Test func `the schema page shows the tables as they are made`() throws {
        let page = try String(
            contentsOf: root.appendingPathComponent("Sources/Catalog/Catalog.docc/Catalog.md"), encoding: .utf8)
        let path = folder.path + "/new.sqlite"
        _ = try Catalog(path: path)
        let tables = try DatabaseQueue(path: path).read { database in
            try String.fetchAll(
                database,
                sql: """
                    SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'grdb%' AND name NOT LIKE 'sqlite%'
                    """)
        }
        #expect(tables.count == 17)
        for table in tables { #expect(page.contains(table), "\(table)") }
    }
}
