import BackupNames
internal import Catalog
import Foundation
import Glibc
import Manifest
import Storage
import StorageTesting
import Testing

@testable import BackupEngine

@Suite("A damaged catalog is made anew", .timeLimit(.minutes(2)))
struct CatalogRepairTests {
    private let bench: EngineBench
    private let path: String

    init() throws {
        bench = try EngineBench()
        path = bench.folder + "/catalog.sqlite"
    }

    private var keptFiles: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: bench.folder).filter {
                $0.contains(".damaged-") && !$0.hasSuffix("-wal") && !$0.hasSuffix("-shm")
            }
        }
    }

    private func sqlite(_ statements: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["20", "sqlite3", path, statements]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Overwrites the root page of a table or index, in place, while the catalog is open.
    private func damage(_ name: String) throws {
        _ = try sqlite("PRAGMA wal_checkpoint(TRUNCATE)")
        let page = try #require(try Int(sqlite("SELECT rootpage FROM sqlite_schema WHERE name = '\(name)'")))
        let byteCount = try #require(try Int(sqlite("PRAGMA page_size")))
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try file.seek(toOffset: UInt64((page - 1) * byteCount))
        try file.write(contentsOf: Data(repeating: 0xa5, count: byteCount))
        try file.close()
        try bench.reopen()
        #expect(throws: CatalogError.self) { try bench.engine.catalog.checkIntegrity() }
    }

    private func addHistory(_ identifier: BackupIdentifier) throws {
        try bench.engine.catalog.noteCheck(identifier, .raw, at: 100, outcome: CheckRecord.good, detail: "")
    }

    @Test(arguments: ["backup", "sqlite_autoindex_backup_1", "backup_access", "backup_check", "run"])
    func `everything comes back, and the damaged file is kept`(damaged: String) throws {
        let images = (0..<3).map { testImage(20_000, seed: $0) }
        let identifiers = try images.map { try bench.backUp($0) }
        try addHistory(identifiers[0])
        _ = bench.engine.copyCatalog(to: try bench.backend)
        let later = try bench.backUp(testImage(5000, seed: 9))
        #expect(try bench.engine.repairCatalogIfDamaged() == nil, "a sound one is left alone")
        let reader = try Catalog(path: path)
        try damage(damaged)
        let repair = try #require(try bench.engine.repairCatalogIfDamaged())
        #expect(repair.fromCopies == 3 && repair.fromSidecars == 1 && repair.fromDamaged == 0, "\(repair)")
        #expect(repair.problems.isEmpty || damaged != "run", "\(repair)")
        #expect(try keptFiles.map { bench.folder + "/" + $0 } == [repair.keptPath])
        // This process and all others have the new one now.
        for catalog in [bench.engine.catalog, reader, try Catalog(path: path)] {
            try catalog.checkIntegrity()
            #expect(try Set(catalog.allBackups().map(\.identifier)) == Set(identifiers + [later]))
            #expect(try catalog.checks(identifiers[0]).map(\.checkedAt) == [100])
        }
        for (identifier, image) in zip(identifiers, images) { #expect(try bench.restore(identifier) == image) }
        try bench.backUp(testImage(1000, seed: 10))
        #expect(try bench.engine.repairCatalogIfDamaged() == nil)
    }

    @Test func `while no backend can be asked it stays in its place, and is made anew when one can`() throws {
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        try damage("run")
        bench.memory.setAvailable(false)
        bench.otherMemory.setAvailable(false)
        #expect(bench.code { _ = try bench.engine.repairCatalogIfDamaged() } == .backendUnavailable)
        #expect(try keptFiles.isEmpty)
        #expect(try bench.engine.catalog.backup(identifier) != nil, "what reads is read")
        bench.memory.setAvailable(true)
        let repair = try #require(try bench.engine.repairCatalogIfDamaged())
        #expect(repair.fromSidecars == 1)
        #expect(repair.problems.contains { $0.contains("other") }, "\(repair)")
    }

    @Test func `what no backend tells of comes from the damaged catalog, if it is authentic`() throws {
        let image = testImage(3000, seed: 1)
        let identifiers = try [bench.backUp(image), bench.backUp(testImage(3000, seed: 2))]
        try addHistory(identifiers[0])
        for identifier in identifiers { try bench.memory.delete(ObjectKey(identifier.manifestKey)) }
        _ = try sqlite(
            """
            UPDATE backup_access SET seek_table = x'00' WHERE backup_id = (
            SELECT id FROM backup WHERE date = '\(identifiers[1].date)')
            """)
        try damage("run")
        let repair = try #require(try bench.engine.repairCatalogIfDamaged())
        #expect(repair.fromDamaged == 1 && repair.lostRowCount == 1 && repair.historyCount == 1, "\(repair)")
        #expect(try bench.engine.catalog.allBackups().map(\.identifier) == [identifiers[0]])
        #expect(try bench.restore(identifiers[0]) == image)
        #expect(try bench.engine.catalog.checks(identifiers[0]).count == 1)
    }

    @Test func `what is under way goes on: its entry is in the new journal, and it is registered there`() throws {
        let path = try bench.file("source.raw", testImage(1000, seed: 1))
        let place = BackupPlace(try bench.backUp(testImage(1000, seed: 2)), generation: 0)
        let entry = try bench.engine.openJournalEntry(for: place, on: bench.backend, .upload)
        try damage("run")
        _ = try #require(try bench.engine.repairCatalogIfDamaged())
        #expect(try bench.engine.catalog.uploads().map(\.id) == [entry])
        bench.clock.advance(1)
        let next = try bench.engine.backUp(
            ImageFile.open(path), as: bench.disk(), to: bench.engine.backend(bench.backendName))
        #expect(try bench.engine.catalog.backup(next.manifest.identifier) != nil)
    }

    @Test func `a mount looks once in a while, makes a damaged one anew, and notices a removed one`() throws {
        let identifier = try bench.backUp(testImage(1000, seed: 1))
        try damage("run")
        var pace = CatalogCare.Pace()
        pace.pollMilliseconds = 20
        pace.checkMilliseconds = 50
        pace.repairMilliseconds = 50
        let care = CatalogCare(bench.engine, pace: pace)
        care.start()
        let end = ContinuousClock.now + .seconds(30)
        while (try? bench.engine.catalog.checkIntegrity()) == nil, ContinuousClock.now < end { usleep(10_000) }
        #expect(try keptFiles.count == 1)
        for ending in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + ending) }
        while !FileManager.default.fileExists(atPath: path), ContinuousClock.now < end { usleep(10_000) }
        care.stop(waitingMilliseconds: 10_000)
        #expect(try Catalog(path: path).allBackups().map(\.identifier) == [identifier])
    }
}
