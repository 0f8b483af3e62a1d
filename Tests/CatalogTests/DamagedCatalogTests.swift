import BackupNames
import Catalog
import Foundation
import GRDB
import Testing

@Suite("Damaged catalog", .timeLimit(.minutes(1)))
struct DamagedCatalogTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder(.memory)
        path = folder.path + "/catalog.sqlite"
    }

    /// A catalog with rows in every table, closed and in one file.
    private func fill() throws {
        let catalog = try Catalog(path: path)
        for number in 0..<40 {
            let manifest = [UInt8](repeating: UInt8(number), count: 100 * number)
            try catalog.register(try .sample(vm: "vm\(number)", manifest: manifest), finishing: nil)
            _ = try catalog.beginUpload(try .sample())
            try catalog.addFolder(backend: try ResourceName("local"), org: try ResourceName("org\(number)"), vm: nil)
        }
    }

    private func execute(_ sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { try $0.execute(sql: sql) }
        try queue.close()
    }

    /// Everything that reads, with the code of the first error.
    private func readEverything() -> CatalogError.Code? {
        do throws(CatalogError) {
            let catalog = try Catalog(path: path)
            for summary in try catalog.allBackups() { _ = try catalog.access(summary.identifier) }
            for number in 0..<40 {
                guard let identifier = try? BackupRecord.sample(vm: "vm\(number)").identifier else { continue }
                _ = try catalog.access(identifier)
                _ = try catalog.latest(
                    backend: identifier.backend, org: identifier.org, vm: identifier.vm, disk: identifier.disk)
            }
            guard let identifier = try? BackupRecord.sample().identifier else { return nil }
            for org in try catalog.orgs(backend: identifier.backend) {
                for vm in try catalog.vms(backend: identifier.backend, org: org) {
                    _ = try catalog.dates(backend: identifier.backend, org: org, vm: vm)
                }
            }
            _ = try catalog.folders()
            _ = try catalog.uploads()
            _ = try catalog.changeToken()
            try catalog.checkIntegrity()
            return nil
        } catch {
            return error.code
        }
    }

    @Test(arguments: [600, 4096, 100_000])
    func `random bytes are no catalog`(_ count: Int) throws {
        let bytes = (0..<count).map { _ in UInt8.random(in: 1...255) }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        #expect(readEverything() == .corrupt)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(bytes), "what is no catalog is left alone")
    }

    @Test func `a page of noise is found`() throws {
        try fill()
        #expect(readEverything() == nil)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let size = 4096
        for page in 1..<bytes.count / size {
            let original = bytes
            for index in page * size..<(page + 1) * size { bytes[index] = .random(in: 0...255) }
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            // A page that is on no list of anything is SQLite's own affair; it says so too.
            #expect(readEverything() == .corrupt, "page \(page)")
            bytes = original
        }
    }

    @Test func `a flipped bit anywhere is an error or harmless, never the end of the process`() throws {
        try fill()
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var state = seed
        for _ in 0..<150 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            var changed = bytes
            changed[Int(state >> 20) % bytes.count] ^= 1 << UInt8(state >> 8 & 7)
            for ending in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + ending) }
            try changed.write(to: URL(fileURLWithPath: path))
            _ = readEverything()
        }
    }

    @Test func `a cut file is corrupt`() throws {
        try fill()
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        for count in [bytes.count - 4096, bytes.count / 2, 4096, 1000] {
            try bytes.prefix(count).write(to: URL(fileURLWithPath: path))
            #expect(readEverything() == .corrupt, "\(count) bytes")
        }
    }

    @Test(arguments: [
        "UPDATE backup SET raw_size = -1", "UPDATE backup SET data_size = -1", "UPDATE backup SET archive_size = -1",
        "UPDATE backup SET org = '..'", "UPDATE backup SET vm = 'a/b'", "UPDATE backup SET backend = ''",
        "UPDATE backup SET disk = char(10)", "UPDATE backup SET date = '2026-11-31T02-00-00Z'",
    ])
    func `a row that cannot be is corrupt, never skipped`(_ sql: String) throws {
        let record = try BackupRecord.sample()
        do {
            let catalog = try Catalog(path: path)
            try catalog.register(record, finishing: nil)
        }
        try execute("PRAGMA ignore_check_constraints = ON; \(sql)")
        let catalog = try Catalog(path: path)
        #expect(throws: CatalogError.self) { try catalog.allBackups() }
        #expect(readEverything() == .corrupt)
    }

    @Test(arguments: [
        "DELETE FROM backup_access", "UPDATE staging_folder SET org = '.x' WHERE org = 'org7'",
        "UPDATE upload SET backend = 'a/b'",
        "UPDATE upload SET owner_start_ticks = -1", "UPDATE upload SET owner_process = 99999999999",
    ])
    func `other rows that cannot be are corrupt too`(_ sql: String) throws {
        try fill()
        try execute("PRAGMA foreign_keys = OFF; \(sql)")
        #expect(readEverything() == .corrupt)
    }

    @Test func `a catalog of a later version is refused, and what it holds is left alone`() throws {
        try fill()
        try execute("INSERT INTO grdb_migrations (identifier) VALUES ('v999')")
        #expect(readEverything() == .newerVersion)
        try execute("DELETE FROM grdb_migrations WHERE identifier = 'v999'")
        #expect(try Catalog(path: path).allBackups().count == 40)
    }

    @Test func `a database of somebody else is not taken for a catalog`() throws {
        try execute("CREATE TABLE backup (id INTEGER PRIMARY KEY)")
        #expect(readEverything() != nil)
    }
}
