import BackupNames
import Catalog
import Foundation
import Testing

@Suite("Catalog", .timeLimit(.minutes(1)))
struct CatalogTests {
    private let folder: TemporaryFolder
    private let path: String
    private let catalog: Catalog

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path + "/catalog.sqlite"
        catalog = try Catalog(path: path)
    }

    private func code(_ body: () throws -> Void) -> CatalogError.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? CatalogError)?.code
        }
    }

    @Test func `a registered backup is found with everything that opens it`() throws {
        let record = try BackupRecord.sample()
        try catalog.register(record, finishing: nil)
        #expect(try catalog.access(record.identifier) == record)
        let summary = try #require(try catalog.backup(record.identifier))
        #expect(summary.identifier == record.identifier)
        #expect(summary.rawByteCount == record.rawByteCount)
        #expect(summary.archiveByteCount == record.archiveByteCount)
        #expect(summary.dataByteCount == record.dataByteCount)
        #expect(summary.createdAt == record.createdAt)
        #expect(try catalog.allBackups() == [summary])
        #expect(try Catalog(path: path).access(record.identifier) == record)
    }

    @Test func `what is not registered is not found`() throws {
        let identifier = try BackupRecord.sample().identifier
        #expect(try catalog.backup(identifier) == nil)
        #expect(try catalog.access(identifier) == nil)
        #expect(try catalog.allBackups().isEmpty)
        #expect(
            try catalog.latest(
                backend: identifier.backend, org: identifier.org, vm: identifier.vm, disk: identifier.disk) == nil)
        try catalog.remove(identifier)
    }

    @Test func `a name is registered once, and the second attempt changes nothing`() throws {
        let record = try BackupRecord.sample()
        let upload = try catalog.beginUpload(try UploadRecord.sample())
        try catalog.register(record, finishing: nil)
        #expect(code { try catalog.register(try .sample(manifest: [9]), finishing: upload) } == .alreadyExists)
        #expect(try catalog.access(record.identifier) == record)
        #expect(try catalog.uploads().count == 1)
        try catalog.remove(record.identifier)
        #expect(try catalog.access(record.identifier) == nil)
        try catalog.register(try .sample(manifest: [9]), finishing: upload)
        #expect(try catalog.access(record.identifier)?.manifestJSON == [9])
        #expect(try catalog.uploads().isEmpty)
    }

    @Test func `names of the same letters in other bytes are two backups`() throws {
        for vm in ["caf\u{e9}", "cafe\u{301}"] { try catalog.register(try .sample(vm: vm), finishing: nil) }
        #expect(try catalog.allBackups().count == 2)
        let sample = try BackupRecord.sample().identifier
        #expect(Set(try catalog.vms(backend: sample.backend, org: sample.org)).count == 2)
    }

    @Test func `the folders of the tree are listed in order, each once`() throws {
        for (org, vm, date, disk) in [
            ("b", "v", "2026-11-20T02-00-00Z", "disk"), ("a", "w", "2026-11-21T02-00-00Z", "disk"),
            ("a", "v", "2026-11-21T02-00-00Z", "disk"), ("a", "v", "2026-11-20T02-00-00Z", "sdb"),
            ("a", "v", "2026-11-20T02-00-00Z", "disk"), ("a", "v", "2025-01-01T00-00-00Z", "sdb"),
        ] {
            try catalog.register(try .sample(org: org, vm: vm, date: date, disk: disk), finishing: nil)
        }
        let (local, a, v) = (try ResourceName("local"), try ResourceName("a"), try ResourceName("v"))
        #expect(try catalog.orgs(backend: local).map(\.description) == ["a", "b"])
        #expect(try catalog.orgs(backend: a).isEmpty)
        #expect(try catalog.vms(backend: local, org: a).map(\.description) == ["v", "w"])
        let dates = ["2025-01-01T00-00-00Z", "2026-11-20T02-00-00Z", "2026-11-21T02-00-00Z"]
        #expect(try catalog.dates(backend: local, org: a, vm: v).map(\.description) == dates)
        let date = try BackupDate(dates[1])
        let disks = try catalog.backups(backend: local, org: a, vm: v, date: date)
        #expect(disks.map(\.identifier.disk.description) == ["disk", "sdb"])
        let latest = try catalog.latest(backend: local, org: a, vm: v, disk: try ResourceName("sdb"))
        #expect(latest?.identifier.date.description == dates[1])
        #expect(try catalog.latest(backend: a, org: a, vm: v, disk: try ResourceName("sdb")) == nil)
        #expect(
            try catalog.allBackups().map(\.identifier.description)
                == catalog.allBackups().map(\.identifier.description).sorted())
    }

    @Test func `the journal keeps an upload until it is ended or its backup is registered`() throws {
        let record = try UploadRecord.sample()
        let (first, second) = (try catalog.beginUpload(record), try catalog.beginUpload(record))
        #expect(first != second)
        try catalog.updateUpload(first, uploadIdentifier: "known to the store")
        let uploads = try Catalog(path: path).uploads()
        #expect(uploads.map(\.id) == [first, second])
        #expect(uploads.map(\.uploadIdentifier) == ["known to the store", ""])
        var expected = record
        expected.id = second
        #expect(uploads.last == expected)
        try catalog.endUpload(first)
        try catalog.endUpload(first)
        try catalog.register(try .sample(), finishing: second)
        #expect(try catalog.uploads().isEmpty)
        // Numbers are never used again: one that somebody remembers cannot mean another upload.
        #expect(try catalog.beginUpload(record) > second)
    }

    @Test func `folders of staging are kept until they are removed`() throws {
        let (local, acme, web) = (try ResourceName("local"), try ResourceName("acme"), try ResourceName("web01"))
        for _ in 0..<2 {
            try catalog.addFolder(backend: local, org: acme, vm: nil)
            try catalog.addFolder(backend: local, org: acme, vm: web)
        }
        let both = [StagingFolder.of(local, acme, nil), StagingFolder.of(local, acme, web)]
        #expect(try Catalog(path: path).folders().map { StagingFolder.of($0.backend, $0.org, $0.vm) } == both)
        try catalog.removeFolder(backend: local, org: acme, vm: web)
        try catalog.removeFolder(backend: local, org: acme, vm: web)
        #expect(try catalog.folders().map(\.vm) == [nil])
    }

    @Test func `two users of one file see what the other does, by the change token`() throws {
        let other = try Catalog(path: path)
        let token = try other.changeToken()
        #expect(try other.changeToken() == token)
        let record = try BackupRecord.sample()
        try catalog.register(record, finishing: nil)
        let later = try other.changeToken()
        #expect(later != token)
        #expect(try other.access(record.identifier) == record)
        let ours = try catalog.changeToken()
        try other.remove(record.identifier)
        #expect(try catalog.changeToken() != ours)
        #expect(try other.changeToken() != later, "one's own changes count too")
        #expect(try catalog.allBackups().isEmpty)
    }

    @Test func `many threads of two users register all they have`() async throws {
        let catalogs = [catalog, try Catalog(path: path)]
        let failures = await withTaskGroup(of: Int.self) { group in
            for worker in 0..<4 {
                group.addTask {
                    (0..<25).filter { number in
                        let record = try? BackupRecord.sample(vm: "vm-\(worker)-\(number)")
                        guard let record, (try? catalogs[worker % 2].register(record, finishing: nil)) != nil else {
                            return true
                        }
                        return (try? catalogs[(worker + 1) % 2].access(record.identifier)) != record
                    }.count
                }
            }
            return await group.reduce(0, +)
        }
        #expect(failures == 0)
        #expect(try catalog.allBackups().count == 100)
        try catalog.checkIntegrity()
    }

    @Test func `the file is readable by its owner only, whatever the umask`() throws {
        try catalog.register(try .sample(), finishing: nil)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(names.contains("catalog.sqlite"))
        for name in names {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    @Test func `a place where no file can be is unusable`() {
        #expect(code { _ = try Catalog(path: folder.path + "/nowhere/catalog.sqlite") } == .unusable)
        #expect(code { _ = try Catalog(path: folder.path) } == .unusable)
    }
}
