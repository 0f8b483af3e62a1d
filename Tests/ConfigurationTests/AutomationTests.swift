import BackupNames
import Configuration
import Retention
import Testing

@Suite("Configuration of automatic backups, pools and the agent")
struct AutomationTests {
    private static let head = """
        state_dir = "/state"
        keys_dir = "/keys"
        [backends.local]
        type = "directory"
        path = "/backups"
        [backends.dr]
        type = "directory"
        path = "/dr"
        dr = true
        [backends.far]
        type = "directory"
        path = "/far"
        dr = true

        """

    private func parse(_ text: String) throws -> Configuration {
        try Configuration.parse(Self.head + text, file: "/etc/holdfast/config.toml")
    }

    private func complaint(_ text: String) -> ConfigurationError? {
        do {
            _ = try parse(text)
            return nil
        } catch {
            return error as? ConfigurationError
        }
    }

    @Test func `nothing is automatic unless somebody says so`() throws {
        let configuration = try parse("[orgs.acme.vms.web.disks.disk]\nsource = \"/dev/vg/web\"\n")
        let disk = try #require(configuration.disks.first)
        #expect("\(disk.name.org)/\(disk.name.vm)/\(disk.name.disk)" == "acme/web/disk" && disk.source == "/dev/vg/web")
        #expect(configuration.automation(of: disk) == nil && configuration.retention(of: disk.name) == nil)
        #expect(configuration.pools.isEmpty && configuration.agent == Configuration.Agent())
    }

    @Test func `a disk's settings come before its vm's, and those before its org's`() throws {
        let configuration = try parse(
            """
            [orgs.acme]
            retention = "gfs"
            [orgs.acme.auto]
            window = "22:00-06:00"
            time_zone = "Europe/Berlin"
            backend = "random"
            consistency = "auto"
            [orgs.acme.vms.web.auto]
            preset = "basic"
            [orgs.acme.vms.web.disks.disk]
            source = "/dev/vg/web"
            format = "raw"
            [orgs.acme.vms.web.disks.data]
            source = "nbd://host/data"
            auto = { daily = 2, yearly = 1, backend = "dr", require_consistency = true }
            [orgs.acme.vms.web.disks.swap]
            source = "/dev/vg/swap"
            auto = { preset = "off" }
            [orgs.acme.vms.mail.disks.disk]
            source = "/dev/vg/mail"
            """)
        func automation(_ vm: String, _ disk: String) throws -> Configuration.AutoBackup? {
            let found = configuration.disks.first { "\($0.name.vm)" == vm && "\($0.name.disk)" == disk }
            return configuration.automation(of: try #require(found))
        }
        let berlin = try BackupWindow("22:00-06:00", timeZone: "Europe/Berlin")
        let disk = try #require(try automation("web", "disk"))
        #expect(disk.policy == .basic && disk.window == berlin && disk.target == .random && disk.consistency == "auto")
        let data = try #require(try automation("web", "data"))
        #expect(data.policy == RetentionPolicy(daily: 2, yearly: 1) && data.window == berlin)
        #expect(data.target == .backend(try ResourceName("dr")) && data.requiresConsistency == true)
        #expect(try automation("web", "swap") == nil)
        #expect(try automation("mail", "disk")?.policy == .gfs)
        // What is not in the file has its org's policy, for what was made by hand.
        let other = DiskName(org: try ResourceName("acme"), vm: try ResourceName("old"), disk: try ResourceName("disk"))
        #expect(configuration.retention(of: other)?.policy == .gfs)
    }

    @Test func `without a backend of its own a disk goes to its org's, or the only one`() throws {
        let text = """
            [orgs.acme]
            backend = "far"
            retention = "weekly"
            [orgs.acme.vms.web.disks.disk]
            source = "/dev/vg/web"
            """
        let configuration = try parse(text)
        let automation = try #require(configuration.automation(of: configuration.disks[0]))
        #expect(
            configuration.automaticTarget(automation, of: try ResourceName("acme")) == .backend(try ResourceName("far"))
        )
        // Its own backend is none for disasters, and there are two others.
        let error = complaint(text.replacing("\"far\"", with: "\"local\""))
        #expect(error?.code == .missingKey && error?.key == "orgs.acme.auto.backend")
    }

    @Test func `pools and the agent`() throws {
        let configuration = try parse(
            """
            [agent]
            max_concurrent = 8
            max_concurrent_per_backend = 3
            shared = "dr"
            prune_share = 20
            verify = "archive"
            [pools.fast]
            path = "/srv/images/"
            file_system = "xfs"
            every = "daily"
            keep = 7
            window = "12:00-13:00"
            [pools.slow]
            path = "/srv/images2"
            """)
        let agent = configuration.agent
        #expect(agent.concurrency == 8 && agent.concurrencyPerBackend == 3 && agent.pruneShare == 0.2)
        #expect(agent.sharedBackend == (try ResourceName("dr")) && agent.verifyDepth == "archive")
        #expect(configuration.pools.map(\.path) == ["/srv/images", "/srv/images2"])
        #expect(configuration.pools[0].policy == Configuration.SnapshotPolicy(every: .daily, keep: 7))
        #expect(configuration.pools[1].policy == nil)
    }

    struct Mistake: Sendable, CustomTestStringConvertible {
        let text: String
        let key: String
        var testDescription: String { text }
    }

    @Test(arguments: [
        Mistake(text: "[orgs.a.auto]\npreset = \"always\"", key: "orgs.a.auto.preset"),
        Mistake(text: "[orgs.a]\nretention = \"always\"", key: "orgs.a.retention"),
        Mistake(text: "[orgs.a.auto]\nbackend = \"nowhere\"", key: "orgs.a.auto.backend"),
        Mistake(text: "[orgs.a.auto]\nbackend = \"local\"", key: "orgs.a.auto.backend"),
        Mistake(text: "[orgs.a]\nretention = \"gfs\"\n[orgs.a.auto]\ndaily = 3", key: "orgs.a.retention"),
        Mistake(text: "[orgs.a.auto]\npreset = \"gfs\"\ndaily = 3", key: "orgs.a.auto.preset"),
        Mistake(text: "[orgs.a.auto]\ndaily = 0", key: "orgs.a.auto.daily"),
        Mistake(text: "[orgs.a.auto]\ndaily = -1", key: "orgs.a.auto.daily"),
        Mistake(text: "[orgs.a.auto]\nwindow = \"03:00-03:00\"", key: "orgs.a.auto.window"),
        Mistake(text: "[orgs.a.vms.w.auto]\nwindow = \"25:00-03:00\"", key: "orgs.a.vms.w.auto.window"),
        Mistake(text: "[orgs.a.auto]\nweekdays = \"mon,foo\"", key: "orgs.a.auto.weekdays"),
        Mistake(text: "[orgs.a.auto]\ntime_zone = \"Mars/Olympus\"", key: "orgs.a.auto.time_zone"),
        Mistake(text: "[orgs.a.auto]\nconsistency = \"maybe\"", key: "orgs.a.auto.consistency"),
        Mistake(
            text: "[orgs.a.vms.w.disks.disk]\nsource = \"qmp+unix:///vda\"", key: "orgs.a.vms.w.disks.disk.source"),
        Mistake(
            text: "[orgs.a.vms.w.disks.disk]\nsource = \"qmp+unix:///vda?socket=/s&freeze=ever\"",
            key: "orgs.a.vms.w.disks.disk.source"),
        Mistake(
            text: "[orgs.a.auto]\nconsistency = \"none\"\nrequire_consistency = true",
            key: "orgs.a.auto.require_consistency"),
        Mistake(text: "[orgs.a.auto]\ncolour = 1", key: "orgs.a.auto.colour"),
        Mistake(text: "[orgs.a.vms.w.disks.d]\nformat = \"raw\"", key: "orgs.a.vms.w.disks.d.source"),
        Mistake(text: "[orgs.a.vms.w.disks.d]\nsource = \"-\"", key: "orgs.a.vms.w.disks.d.source"),
        Mistake(
            text: "[orgs.a.vms.w.disks.d]\nsource = \"/x\"\n[orgs.a.vms.w.disks.e]\nsource = \"/x\"",
            key: "orgs.a.vms.w.disks.e.source"),
        Mistake(text: "[pools.p]\nfile_system = \"xfs\"", key: "pools.p.path"),
        Mistake(text: "[pools.p]\npath = \"/p\"\nevery = \"hourly\"\nkeep = 1", key: "pools.p.every"),
        Mistake(text: "[pools.p]\npath = \"/p\"\nevery = \"daily\"", key: "pools.p.keep"),
        Mistake(text: "[pools.p]\npath = \"/p\"\nkeep = 3", key: "pools.p.every"),
        Mistake(text: "[pools.p]\npath = \"/p\"\n[pools.q]\npath = \"/p/q\"", key: "pools.q.path"),
        Mistake(
            text: "[backends.snapshots]\ntype = \"directory\"\npath = \"/s\"\n[pools.p]\npath = \"/p\"",
            key: "backends.snapshots"),
        Mistake(text: "[agent]\nmax_concurrent = 0", key: "agent.max_concurrent"),
        Mistake(text: "[agent]\nshared = \"nowhere\"", key: "agent.shared"),
        Mistake(text: "[agent]\nverify = \"no\"", key: "agent.verify"),
        Mistake(text: "[agent]\nprune_share = 101", key: "agent.prune_share"),
    ])
    func `what cannot be is an error that names the key`(mistake: Mistake) {
        let error = complaint(mistake.text)
        #expect(error?.key == mistake.key, "\(String(describing: error))")
        #expect(error?.line != nil)
    }

    @Test func `random needs a backend to choose`() {
        let error = #expect(throws: ConfigurationError.self) {
            try Configuration.parse(
                Self.head.replacing("dr = true", with: "dr = false") + "[orgs.a.auto]\nbackend = \"random\"", file: "c")
        }
        #expect(error?.key == "orgs.a.auto.backend")
    }
}
