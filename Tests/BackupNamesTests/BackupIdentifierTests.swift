import BackupNames
import Testing

@Suite("Names of backups")
struct BackupIdentifierTests {
    private let local: ResourceName
    private let identifier: BackupIdentifier

    init() throws {
        local = try ResourceName("local")
        identifier = BackupIdentifier(
            backend: local, org: try ResourceName("acme"), vm: try ResourceName("web01"),
            date: try BackupDate("2026-11-20T02-00-00Z"), disk: try ResourceName("disk"))
    }

    @Test func `keys and text are those of the format`() {
        #expect(identifier.archiveKey == "acme/web01/2026-11-20T02-00-00Z/disk.raw.zst.age")
        #expect(identifier.manifestKey == "acme/web01/2026-11-20T02-00-00Z/disk.manifest.age")
        #expect(identifier.description == "local:acme/web01/2026-11-20T02-00-00Z/disk")
    }

    @Test func `a sidecar's key gives the backup back`() {
        #expect(BackupIdentifier(backend: local, manifestKey: identifier.manifestKey) == identifier)
    }

    @Test(arguments: [
        "", "acme", "acme/web01/2026-11-20T02-00-00Z/disk.raw.zst.age", "acme/web01/2026-11-20T02-00-00Z/.manifest.age",
        "acme/web01/2026-11-20T02-00-00Z/disk.manifest.age/", "/acme/web01/2026-11-20T02-00-00Z/disk.manifest.age",
        "acme/web01/2026-11-31T02-00-00Z/disk.manifest.age", "acme/../2026-11-20T02-00-00Z/disk.manifest.age",
        "acme//2026-11-20T02-00-00Z/disk.manifest.age", "acme/web01/latest/disk.manifest.age",
        "x/acme/web01/2026-11-20T02-00-00Z/disk.manifest.age", "acme/web01/2026-11-20T02-00-00Z/disk.manifest.age.tmp",
    ])
    func `any other key is no sidecar's`(_ key: String) {
        #expect(BackupIdentifier(backend: local, manifestKey: key) == nil)
    }

    @Test func `the longest names make a file name that file systems take`() throws {
        let longest = try ResourceName(String(repeating: "x", count: ResourceName.maximumByteCount))
        let identifier = BackupIdentifier(
            backend: local, org: longest, vm: longest, date: identifier.date, disk: longest)
        for key in [identifier.archiveKey, identifier.manifestKey] {
            #expect(key.split(separator: "/").allSatisfy { $0.utf8.count <= 255 })
        }
        #expect(BackupIdentifier(backend: local, manifestKey: identifier.manifestKey) == identifier)
    }
}

@Suite("Patterns for backups")
struct BackupPatternTests {
    private func identifier(
        _ backend: String = "local", _ org: String = "acme", _ vm: String = "web01",
        _ date: String = "2026-11-20T02-00-00Z",
        _ disk: String = "disk"
    ) throws -> BackupIdentifier {
        BackupIdentifier(
            backend: try ResourceName(backend), org: try ResourceName(org), vm: try ResourceName(vm),
            date: try BackupDate(date), disk: try ResourceName(disk))
    }

    @Test func `the shortest form means the disk named disk at any backend`() throws {
        let pattern = try BackupPattern("acme/web01/2026-11-20T02-00-00Z")
        #expect(pattern.backend == nil)
        #expect(pattern.disk.description == "disk")
        #expect(pattern.date == .exactly(try BackupDate("2026-11-20T02-00-00Z")))
        #expect(pattern.matches(try identifier()))
        #expect(pattern.matches(try identifier("other")))
    }

    @Test func `the text of a backup is a pattern for it and no other`() throws {
        let pattern = try BackupPattern(try identifier().description)
        #expect(pattern.matches(try identifier()))
        #expect(!pattern.matches(try identifier("other")))
        #expect(!pattern.matches(try identifier("local", "other")))
        #expect(!pattern.matches(try identifier("local", "acme", "other")))
        #expect(!pattern.matches(try identifier("local", "acme", "web01", "2026-11-20T02-00-01Z")))
        #expect(!pattern.matches(try identifier("local", "acme", "web01", "2026-11-20T02-00-00Z", "data")))
    }

    @Test func `latest matches any date`() throws {
        let pattern = try BackupPattern("s3:acme/web01/latest/data")
        #expect(pattern.date == .latest)
        #expect(pattern.matches(try identifier("s3", "acme", "web01", "1970-01-01T00-00-00Z", "data")))
        #expect(!pattern.matches(try identifier("s3", "acme", "web01", "1970-01-01T00-00-00Z", "disk")))
    }

    @Test(arguments: [
        "", "acme", "acme/web01", "acme/web01/latest/disk/more", "/acme/web01/latest", "acme/web01/latest/",
        "acme//latest", ":acme/web01/latest", "a:b:acme/web01/latest", "../web01/latest", "acme/web01/yesterday",
        "acme/web01/2026-11-31T02-00-00Z", "acme/web01/latest/latest", "staging/web01/latest", "a/b:acme/web01/latest",
    ])
    func `anything else is refused`(_ text: String) {
        #expect(throws: NameError.self) { try BackupPattern(text) }
    }
}
