import BackupNames
import Configuration
import Retention
import Testing

@Suite("Configuration of locks, minimum days and prices")
struct LockTests {
    private static let head = """
        state_dir = "/state"
        keys_dir = "/keys"
        [backends.nas]
        type = "directory"
        path = "/nas"
        dr = true
        [backends.s3]
        type = "s3"
        endpoint = "https://s3.example"
        bucket = "backups"
        region = "eu"
        dr = true
        object_lock_mode = "COMPLIANCE"
        minimum_billed_days = 90
        price = 6.99

        """

    private func parse(_ text: String) throws -> Configuration {
        try Configuration.parse(Self.head + text, file: "/etc/holdfast/config.toml")
    }

    private func complaint(_ text: String) -> String? {
        do {
            _ = try parse(text)
            return nil
        } catch {
            return "\(error)"
        }
    }

    private static let day: Int64 = 86_400

    @Test func `a lock for each class, inherited as a whole, and taken away by an empty one`() throws {
        let configuration = try parse(
            """
            [orgs.acme.auto]
            preset = "gfs"
            backend = "s3"
            lock = { daily = "7d", weekly = "5w", yearly = "3y" }
            [orgs.acme.vms.web.auto]
            lock = { daily = "2d" }
            [orgs.acme.vms.db.disks.disk]
            source = "/dev/vg/db"
            auto = { lock = {} }
            """)
        func locks(_ vm: String) throws -> RetentionLocks? {
            configuration.locks(
                of: DiskName(org: try ResourceName("acme"), vm: try ResourceName(vm), disk: try ResourceName("disk")))
        }
        let mail = try #require(try locks("mail"))
        #expect(mail[.daily] == 7 * Self.day && mail[.weekly] == 35 * Self.day && mail[.monthly] == nil)
        #expect(mail[.yearly] == 3 * 366 * Self.day)
        #expect(try locks("web") == RetentionLocks([.daily: 2 * Self.day]))
        #expect(try locks("db") == nil)
    }

    @Test func `a lock needs backends that lock, all of them for random; the error names file, line and key`() throws {
        let auto = "[orgs.acme.auto]\npreset = \"gfs\"\n"
        for (text, key) in [
            (auto + "backend = \"nas\"\nlock = { daily = \"7d\" }", "orgs.acme.auto.lock"),
            (auto + "backend = \"random\"\nlock = { daily = \"7d\" }", "orgs.acme.auto.lock"),
            (
                auto + "backend = \"s3\"\nlock = { daily = \"7d\" }\n[orgs.acme.vms.web.auto]\nbackend = \"nas\"",
                "orgs.acme.auto.lock"
            ),
            (
                auto + "backend = \"nas\"\n[orgs.acme.vms.web.disks.disk]\nsource = \"/a\"\n"
                    + "auto = { lock = { daily = \"1d\" } }",
                "orgs.acme.vms.web.disks.disk.auto.lock"
            ),
        ] {
            let error = try #require(complaint(text))
            #expect(error.contains("/etc/holdfast/config.toml:") && error.contains(key), "\(error)")
            #expect(error.contains("\"nas\"") && error.contains("object_lock_mode"), "\(error)")
        }
        #expect(complaint(auto + "backend = \"s3\"\nlock = { daily = \"7d\" }") == nil)
    }

    @Test(arguments: [
        "lock = { hourly = \"7d\" }", "lock = { daily = \"7\" }", "lock = { daily = 7 }", "lock = \"7d\"",
    ])
    func `what is no lock is refused`(line: String) throws {
        let error = try #require(complaint("[orgs.acme.auto]\npreset = \"gfs\"\nbackend = \"s3\"\n" + line))
        #expect(error.contains("orgs.acme.auto.lock"), "\(error)")
    }

    @Test func `minimum days and prices, of a backend and of all`() throws {
        let plain = try parse("")
        #expect(plain.backends.map(\.minimumBilledDays) == [0, 90])
        #expect(plain.backends.map { $0.price?.centsPerTerabyteMonth } == [nil, 699])
        #expect(plain.backends.map(\.locksObjects) == [false, true])
        #expect(plain.prices.backup.centsPerTerabyteMonth == 3500)
        #expect(plain.prices.snapshot.centsPerTerabyteMonth == 5000)
        let own = try parse("[prices]\nbackup = 20\nsnapshot = \"41.5\"")
        #expect(own.prices.backup.centsPerTerabyteMonth == 2000 && own.prices.snapshot.centsPerTerabyteMonth == 4150)
        for value in ["-1", "\"12.345\"", "\"a\"", "\"\"", "\".5\"", "\"1.\"", "true", "1000001", "1e300", "nan"] {
            #expect(complaint("[prices]\nbackup = \(value)")?.contains("prices.backup") == true, "\(value)")
        }
    }
}
