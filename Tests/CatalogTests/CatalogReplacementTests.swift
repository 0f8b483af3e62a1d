import BackupNames
import Catalog
import Foundation
import GRDB
import Synchronization
import Testing

@Suite("A catalog that goes or is replaced", .timeLimit(.minutes(1)))
struct CatalogReplacementTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder(.memory)
        path = folder.path + "/catalog.sqlite"
    }

    private final class Notices: Sendable {
        let all = Mutex<[String]>([])
    }

    private func vms(_ catalog: Catalog) throws -> [String] {
        try catalog.allBackups().map { "\($0.identifier.vm)" }
    }

    private func remove(_ endings: [String]) throws {
        for ending in endings { try FileManager.default.removeItem(atPath: path + ending) }
    }

    private func inode(_ path: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int
    }

    private func code(_ body: () throws -> Void) -> CatalogError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? CatalogError)?.code
        }
    }

    @Test(arguments: [[""], ["", "-wal", "-shm"]])
    func `a file that is removed while it is in use is written again with all it held, and that is told`(
        endings: [String]
    ) throws {
        let notices = Notices()
        let catalog = try Catalog(path: path) { text in notices.all.withLock { $0.append(text) } }
        try catalog.register(try .sample(vm: "first"), finishing: nil)
        let token = try catalog.changeToken()
        try remove(endings)
        try catalog.register(try .sample(vm: "second"), finishing: nil)
        #expect(try catalog.changeToken() != token)
        #expect(try vms(catalog) == ["first", "second"])
        #expect(try vms(Catalog(path: path)) == ["first", "second"], "who opens it now has all")
        let told = notices.all.withLock { $0 }
        #expect(told.count == 1 && told[0].contains("removed") && told[0].contains(path), "\(told)")
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).allSatisfy { !$0.contains("saved") })
    }

    @Test func `another file in its place counts from now on, and its log stays whole when the old one is let go`()
        throws
    {
        let notices = Notices()
        do {
            let catalog = try Catalog(path: path) { text in notices.all.withLock { $0.append(text) } }
            try catalog.register(try .sample(vm: "old"), finishing: nil)
            let token = try catalog.changeToken()
            try remove(["", "-wal", "-shm"])
            let other = try Catalog(path: path)
            try other.register(try .sample(vm: "new"), finishing: nil)
            let log = try inode(path + "-wal")
            #expect(try vms(catalog) == ["new"])
            #expect(try inode(path + "-wal") == log, "the log of the new file is still there")
            #expect(try catalog.changeToken() != token)
            try catalog.register(try .sample(vm: "newer"), finishing: nil)
            #expect(try vms(other) == ["new", "newer"])
        }
        // Of the connections to the file that has no name any more none took this one's log with it.
        #expect(try vms(Catalog(path: path)) == ["new", "newer"])
        #expect(notices.all.withLock { $0.count } == 1)
        #expect(notices.all.withLock { $0.first?.contains("replaced") } == true)
    }

    @Test func `what is no catalog in its place is an error, not what was there before`() throws {
        let catalog = try Catalog(path: path)
        try catalog.register(try .sample(), finishing: nil)
        try remove(["", "-wal", "-shm"])
        try Data((0..<9000).map { _ in UInt8.random(in: 1...255) }).write(to: URL(fileURLWithPath: path))
        #expect(code { _ = try catalog.allBackups() } == .corrupt)
        #expect(code { try catalog.register(try .sample(vm: "x"), finishing: nil) } == .corrupt)
        try remove([""])
        // It is not lost, though: with the wrong one gone, it is written again.
        #expect(try vms(catalog).count == 1)
    }

    @Test func `a new one takes the place of another, which is kept with its log`() throws {
        let old = try Catalog(path: path)
        try old.register(try .sample(vm: "old"), finishing: nil)
        try Data().write(to: URL(fileURLWithPath: path + ".new"))
        let new = try Catalog.replacement(for: path)
        try new.register(try .sample(vm: "new"), finishing: nil)
        #expect(try new.takePlace(of: path, keeping: path + ".damaged-now"))
        #expect(try vms(old) == ["new"], "who has the old one open follows")
        #expect(try vms(Catalog(path: path)) == ["new"])
        #expect(try vms(Catalog(path: path + ".damaged-now")) == ["old"])
        #expect(!FileManager.default.fileExists(atPath: path + ".new"))
        // A name that is taken is not overwritten.
        let third = try Catalog.replacement(for: path)
        #expect(code { _ = try third.takePlace(of: path, keeping: path + ".damaged-now") } == .unusable)
        #expect(try vms(Catalog(path: path)) == ["new"])
        try remove([""])
        let fourth = try Catalog.replacement(for: path)
        #expect(try !fourth.takePlace(of: path, keeping: path + ".damaged-then"), "there is nothing to keep")
        #expect(try vms(Catalog(path: path)).isEmpty)
    }

    @Test func `of a damaged catalog every row that reads is given out, and the others are counted`() throws {
        do {
            let catalog = try Catalog(path: path)
            for number in 0..<20 { try catalog.register(try .sample(vm: "vm\(number)"), finishing: nil) }
            try catalog.remove(BackupRecord.sample(vm: "vm3").identifier)
        }
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction { database in
            try database.execute(
                sql: """
                    PRAGMA ignore_check_constraints = ON; UPDATE backup SET raw_size = -1 WHERE vm = 'vm5';
                    UPDATE backup SET org = '..' WHERE vm = 'vm6'; PRAGMA foreign_keys = OFF;
                    DELETE FROM backup_access WHERE backup_id = (SELECT id FROM backup WHERE vm = 'vm7')
                    """)
        }
        try queue.close()
        var names: [String] = []
        let catalog = try Catalog(path: path)
        #expect(catalog.forEachReadableBackup { names.append("\($0.identifier.vm)") } == 3)
        #expect(Set(names) == Set((0..<20).map { "vm\($0)" }).subtracting(["vm3", "vm5", "vm6", "vm7"]))
    }

    @Test func `a new catalog goes on with the journal, and gives out no number twice`() throws {
        let old = try Catalog(path: path)
        _ = try old.beginUpload(try .sample())
        let number = try old.beginUpload(try .sample())
        try old.addFolder(backend: ResourceName("local"), org: ResourceName("acme"), vm: ResourceName("web"))
        let new = try Catalog.replacement(for: path)
        try new.takeOver(old.uploads(), old.folders(), secondsSince1970: 1000)
        #expect(try new.uploads() == old.uploads() && new.folders() == old.folders())
        #expect(try new.beginUpload(try .sample()) == 1001)
        try new.endUpload(number)
        #expect(try new.uploads().count == 2)
    }
}
