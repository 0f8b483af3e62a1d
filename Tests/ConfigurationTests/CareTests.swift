import BackupNames
import Configuration
import Testing

@Suite("Configuration of drills and status")
struct CareTests {
    private func parse(_ text: String) throws -> Configuration {
        try Configuration.parse(
            """
            state_dir = "/state"
            keys_dir = "/keys"
            [backends.local]
            type = "directory"
            path = "/backups"

            """ + text, file: "/etc/holdfast/config.toml")
    }

    private func complaint(_ text: String) -> ConfigurationError? {
        do {
            _ = try parse(text)
            return nil
        } catch {
            return error as? ConfigurationError
        }
    }

    @Test func `without the tables the standard holds`() throws {
        let configuration = try parse("")
        let drills = configuration.drills(org: try ResourceName("acme"))
        #expect(drills == .standard && drills.every?.seconds == 2_592_000 && drills.expect == nil)
        #expect(configuration.status(org: nil) == .standard)
        #expect(Configuration.Status.standard.recoveryPoint?.seconds == 93_600)
    }

    @Test func `a vm's settings come before its org's, and those before the file's`() throws {
        let configuration = try parse(
            """
            [drills]
            every = "2w"
            expect = "login:"
            [status]
            rpo = "90m"
            drill = "off"
            [orgs.acme.drills]
            every = "7d"
            firmware = "uefi"
            bus = "sata"
            [orgs.acme.status]
            rpo = "1h"
            [orgs.acme.vms.web.drills]
            expect = "web ready"
            memory = "2GiB"
            [orgs.acme.vms."a b"]
            [orgs.other]
            """)
        let (acme, other) = (try ResourceName("acme"), try ResourceName("other"))
        #expect(
            configuration.drills(org: acme, vm: try ResourceName("web"))
                == Configuration.Drills(
                    every: .every(seconds: 7 * 86_400), expect: "web ready", firmware: .uefi, bus: .sata,
                    memoryByteCount: 2 << 30))
        #expect(configuration.drills(org: acme, vm: try ResourceName("db")).expect == "login:")
        #expect(configuration.drills(org: other).every?.seconds == 1_209_600)
        #expect(configuration.drills(org: other).firmware == .bios)
        #expect(configuration.status(org: acme).recoveryPoint?.seconds == 3600)
        #expect(configuration.status(org: other).recoveryPoint?.seconds == 5400)
        #expect(configuration.status(org: acme).drill == .off)
        #expect(configuration.status(org: acme).verify?.seconds == 691_200)
    }

    @Test(arguments: [
        ("[drills]\nevery = \"30\"", "drills.every"), ("[drills]\nevery = 30", "drills.every"),
        ("[drills]\nevery = \"0d\"", "drills.every"), ("[drills]\nevery = \"-1d\"", "drills.every"),
        ("[drills]\nfirmware = \"efi\"", "drills.firmware"), ("[drills]\nmemory = \"1KiB\"", "drills.memory"),
        ("[drills]\nbus = \"scsi\"", "drills.bus"),
        ("[drills]\nexpect = \"\"", "drills.expect"), ("[drills]\nrpo = \"1d\"", "drills.rpo"),
        ("[status]\nevery = \"1d\"", "status.every"), ("[status]\nrpo = \"1 d\"", "status.rpo"),
        ("[orgs.acme.status]\nrpo = \"1x\"", "orgs.acme.status.rpo"),
        ("[orgs.acme.vms.web.drills]\nevery = \"1d\"", "orgs.acme.vms.web.drills.every"),
        ("[orgs.acme.vms.web]\nexpect = \"x\"", "orgs.acme.vms.web.expect"),
    ])
    func `what cannot be is an error that names the key`(text: String, key: String) throws {
        let error = try #require(complaint(text))
        #expect(error.key == key && error.line != nil, "\(error)")
    }

    @Test func `lengths of time and sizes are read exactly`() {
        #expect(DurationText.seconds("90s") == 90 && DurationText.seconds("30m") == 1800)
        #expect(DurationText.seconds("26h") == 93_600 && DurationText.seconds("2w") == 1_209_600)
        for text in ["", "d", "1", "1D", "+1d", "1.5d", "1d ", "99999999999999999999d", "9999999d", "１d"] {
            #expect(DurationText.seconds(text) == nil, "\(text)")
        }
        #expect(SizeText.byteCount("3GiB") == 3 << 30 && SizeText.byteCount("77") == 77)
        for text in ["", "GiB", "0", "-1", "+1KiB", "1GB", "9999999TiB", "1 GiB"] {
            #expect(SizeText.byteCount(text) == nil, "\(text)")
        }
    }
}
