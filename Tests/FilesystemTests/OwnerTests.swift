import BackupEngine
import BackupNames
import Testing

@testable import Filesystem

@Suite("Owners and modes", .timeLimit(.minutes(1)))
struct OwnerTests {
    /// What of a node's attributes the kernel decides by.
    private struct Access: Equatable {
        let user: UInt32?
        let group: UInt32?
        let permissions: UInt32
        let kept: UInt32

        init(user: UInt32? = nil, group: UInt32? = nil, _ permissions: UInt32, kept: UInt32? = nil) {
            (self.user, self.group, self.permissions) = (user, group, permissions)
            self.kept = kept ?? permissions
        }

        init(_ attributes: Attributes) {
            self.init(
                user: attributes.userID, group: attributes.groupID, attributes.permissions,
                kept: attributes.keptPermissions)
        }
    }

    private func bench(_ access: OrgAccess?) throws -> TreeBench {
        let bench = try TreeBench(orgs: [ResourceName("acme"): OrgSettings(access: access)])
        bench.filesystem.release(try bench.openBackup(of: [UInt8](repeating: 7, count: 70_000)))
        return bench
    }

    private func access(_ bench: TreeBench, _ path: String) throws -> Access {
        let number = try bench.number(path)
        return Access(try bench.filesystem.attributes(number))
    }

    private static let files = ["disk.raw", "disk.raw.zst.age", "manifest.json", "SHA256SUMS"]

    @Test func `an org without an owner is as the mount says`() throws {
        let bench = try bench(nil)
        for path in ["", "memory", "staging", "staging/memory", "staging/memory/acme", "staging/memory/acme/web"] {
            #expect(try access(bench, path) == Access(0o755, kept: 0), "\(path)")
        }
        for path in ["memory/acme", "memory/acme/web", try bench.latest] {
            #expect(try access(bench, path) == Access(0o555, kept: 0), "\(path)")
        }
        for name in Self.files {
            #expect(try access(bench, bench.latest + "/" + name) == Access(0o444, kept: 0), "\(name)")
        }
    }

    @Test func `an org's owner, group and mode are those of its folders and all below them`() throws {
        let bench = try bench(OrgAccess(userID: 1001, groupID: 1002, folderMode: 0o771))
        func own(_ permissions: UInt32) -> Access { Access(user: 1001, group: 1002, permissions) }
        for path in ["memory/acme", "memory/acme/web", try bench.latest] {
            #expect(try access(bench, path) == own(0o551), "\(path)")
        }
        for name in Self.files {
            #expect(try access(bench, bench.latest + "/" + name) == own(0o440), "\(name)")
        }
        for path in ["staging/memory/acme", "staging/memory/acme/web"] {
            #expect(try access(bench, path) == own(0o771), "\(path)")
        }
        #expect(try access(bench, "staging/memory/acme/web/disk.raw") == own(0o660))
        #expect(try access(bench, "staging/memory/acme/web/disk.raw.status") == own(0o440))
        let link = try access(bench, "memory/acme/web/latest")
        #expect(link.user == 1001 && link.group == 1002 && link.permissions == 0o777)
        let folder = try bench.filesystem.makeDirectory("db", in: bench.number("staging/memory/acme"))
        #expect(Access(folder) == own(0o771))
        let (created, handle) = try bench.filesystem.create(
            "disk.raw", in: folder.number, exclusive: true, OpenIntent(forWriting: true, truncates: false))
        bench.filesystem.release(handle)
        #expect(Access(created) == own(0o660))
    }

    @Test func `the folders above can be passed whatever the umask, once an org has an owner or a mode`() throws {
        let bench = try bench(OrgAccess(folderMode: 0o700))
        for path in ["", "memory", "other", "staging", "staging/memory"] {
            #expect(try access(bench, path) == Access(0o755, kept: 0o111), "\(path)")
        }
        #expect(try access(bench, "memory/acme") == Access(0o500))
    }

    @Test(arguments: [nil, OrgAccess(userID: 1001, folderMode: 0o755)])
    func `what names every org is for the mount's owner and group`(_ own: OrgAccess?) throws {
        let bench = try bench(own)
        for path in ["status.json", "metrics.prom"] {
            #expect(try access(bench, path) == Access(0o440, kept: 0), "\(path)")
        }
    }
}
