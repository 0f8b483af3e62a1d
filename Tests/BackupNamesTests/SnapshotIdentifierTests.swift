import BackupNames
import Testing

@Suite("Names of snapshots")
struct SnapshotIdentifierTests {
    @Test func `a disk is named with or without its pool, and is "disk" unless said otherwise`() throws {
        let short = try SnapshotDiskPattern("acme/web")
        #expect(short.pool == nil && "\(short.disk)" == "acme/web/disk")
        let long = try SnapshotDiskPattern("fast:acme/web/data")
        #expect(long.pool?.description == "fast" && "\(long.disk)" == "acme/web/data")
        for text in ["", "acme", "acme/", "/web", "acme/web/disk/x", ":acme/web", "acme/../web", "a:b:c/d"] {
            #expect(throws: NameError.self, "\(text)") { _ = try SnapshotDiskPattern(text) }
        }
    }

    @Test func `its name says where it is, and its label that it is no backup`() throws {
        let identifier = SnapshotIdentifier(
            pool: try ResourceName("fast"), disk: try SnapshotDiskPattern("acme/web").disk,
            date: try BackupDate("2026-11-20T02-00-00Z"))
        #expect("\(identifier)" == "fast:acme/web/2026-11-20T02-00-00Z/disk")
        #expect("\(identifier.diskName)" == "acme/web/disk")
        #expect(SnapshotIdentifier.label == "in-cluster copy, not a backup")
    }
}
