import BackupNames
import Testing

@Suite("Places of backups")
struct BackupPlaceTests {
    private func identifier(_ disk: String = "disk") throws -> BackupIdentifier {
        BackupIdentifier(
            backend: try ResourceName("local"), org: try ResourceName("acme"), vm: try ResourceName("web01"),
            date: try BackupDate("2026-11-20T02-00-00Z"), disk: try ResourceName(disk))
    }

    private func place(_ key: String) throws -> BackupPlace? {
        BackupPlace(backend: try ResourceName("local"), manifestKey: key)
    }

    @Test func `a later generation lies in a folder of its own`() throws {
        let first = BackupPlace(try identifier(), generation: 0)
        #expect(first.archiveKey == "acme/web01/2026-11-20T02-00-00Z/disk.raw.zst.age")
        #expect(first.manifestKey == "acme/web01/2026-11-20T02-00-00Z/disk.manifest.age")
        let later = BackupPlace(try identifier(), generation: 12)
        #expect(later.archiveKey == "acme/web01/2026-11-20T02-00-00Z/generation-12/disk.raw.zst.age")
        #expect(later.manifestKey == "acme/web01/2026-11-20T02-00-00Z/generation-12/disk.manifest.age")
    }

    @Test(arguments: ["disk", "generation-1", "disk~1", "generation-", "1"], [0, 1, 531_204, UInt64(Int64.max)])
    func `the key of a sidecar names the place and no other`(disk: String, generation: UInt64) throws {
        let place = BackupPlace(try identifier(disk), generation: generation)
        #expect(try self.place(place.manifestKey) == place)
        #expect(try self.place(place.archiveKey) == nil)
    }

    @Test(arguments: [
        "generation-0/disk", "generation-01/disk", "generation-+1/disk", "generation--1/disk", "generation-/disk",
        "generation-9223372036854775808/disk", "generation-1 /disk", "Generation-1/disk", "generations-1/disk",
        "1/disk",
        "generation-1/more/disk", "generation-１/disk",
    ])
    func `anything else between date and disk is no place`(rest: String) throws {
        #expect(try place("acme/web01/2026-11-20T02-00-00Z/\(rest).manifest.age") == nil)
    }
}
