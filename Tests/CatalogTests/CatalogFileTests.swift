import BackupNames
import Catalog
import Foundation
import Synchronization
import Testing

@Suite("Catalog file", .timeLimit(.minutes(1)))
struct CatalogFileTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder(.memory)
        path = folder.path + "/catalog.sqlite"
    }

    /// Whether there are POSIX locks on the file, by /proc/locks: looking at the file itself could drop them. While other locks come and
    /// go, a reading of that list may pass one over; several do not.
    private func isLocked() throws -> Bool {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        let inode = try #require(attributes[.systemFileNumber] as? NSNumber)
        return try (0..<50).contains { _ in
            try String(contentsOfFile: "/proc/locks", encoding: .utf8).split(separator: "\n")
                .contains { $0.contains(" POSIX ") && $0.contains(":\(inode) ") }
        }
    }

    @Test func `opening a catalog again leaves the locks of the first in place`() throws {
        let first = try Catalog(path: path)
        #expect(try isLocked())
        let second = try Catalog(path: path)
        // Without a lock, the next process to close the catalog would remove the log with what was committed here.
        #expect(try isLocked())
        try first.register(try .sample(), finishing: nil)
        #expect(try second.allBackups().count == 1)
    }

    @Test func `all who open a new catalog at one moment get one`() throws {
        for round in 0..<30 {
            let path = folder.path + "/\(round).sqlite"
            let failures = Mutex<[String]>([])
            DispatchQueue.concurrentPerform(iterations: 6) { number in
                do throws(CatalogError) {
                    let catalog = try Catalog(path: path)
                    guard let record = try? BackupRecord.sample(vm: "vm\(number)") else { return }
                    try catalog.register(record, finishing: nil)
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
            #expect(failures.withLock { $0 } == [])
            #expect(try Catalog(path: path).allBackups().count == 6)
        }
    }

    @Test func `orgs and vms are listed in the order of their bytes, however many backups they have`() throws {
        let catalog = try Catalog(path: path)
        let names = ["a", "B", "é", "e\u{301}", "z", "日本", "a b", "a-b", "ab"]
        for name in names {
            for day in 10..<13 {
                try catalog.register(
                    try .sample(org: name, vm: name, date: "2026-11-\(day)T02-00-00Z"), finishing: nil)
                try catalog.register(
                    try .sample(org: "last", vm: name, date: "2026-11-\(day)T02-00-00Z"), finishing: nil)
            }
        }
        let backend = try ResourceName("local")
        let sorted = try names.map { try ResourceName($0) }.sorted()
        #expect(try catalog.orgs(backend: backend) == (sorted + [try ResourceName("last")]).sorted())
        #expect(try catalog.vms(backend: backend, org: try ResourceName("last")) == sorted)
        #expect(try catalog.orgs(backend: try ResourceName("other")).isEmpty)
        #expect(try catalog.vms(backend: backend, org: try ResourceName("other")).isEmpty)
    }
}
