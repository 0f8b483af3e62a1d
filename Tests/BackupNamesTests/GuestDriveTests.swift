import BackupNames
import Testing

@Suite("Drives of guests")
struct GuestDriveTests {
    @Test func `a URI names a drive, a socket, and what else there is`() throws {
        let plain = try GuestDrive("qmp+unix:///vda?socket=/run/vm.qmp")
        #expect(plain.drive == "vda" && plain.socket == "/run/vm.qmp" && plain.agent == nil)
        #expect(plain.freezeSeconds == 10 && plain.overlayByteCount == nil)
        let full = try GuestDrive(
            "qmp+unix:////machine/peripheral-anon/device%5B1%5D?agent=/run/a%26b.qga&socket=/run/vm%20one.qmp&freeze=3&overlay=512MiB"
        )
        #expect(full.drive == "/machine/peripheral-anon/device[1]" && full.socket == "/run/vm one.qmp")
        #expect(full.agent == "/run/a&b.qga" && full.freezeSeconds == 3 && full.overlayByteCount == 512 << 20)
        #expect(try GuestDrive("qmp+unix:///%23block123?socket=s&overlay=2GiB").drive == "#block123")
        #expect(GuestDrive.isURI("qmp+unix://x") && !GuestDrive.isURI("nbd+unix:///x?socket=y"))
    }

    @Test(arguments: [
        ("qmp+unix://vda?socket=/s", "must be"), ("qmp+unix:///vda", "must be"),
        ("qmp+unix:///?socket=/s", "names no drive"),
        ("qmp+unix:///vda?", "unknown"), ("qmp+unix:///vda?agent=/a", "names no socket"),
        ("qmp+unix:///vda?socket=", "no value"), ("qmp+unix:///vda?socket", "no value"),
        ("qmp+unix:///vda?socket=/s&socket=/t", "twice"),
        ("qmp+unix:///vda?socket=/s&sockets=/t", "unknown \"sockets\""),
        ("qmp+unix:///vda?socket=/s&freeze=0", "1 to 60"), ("qmp+unix:///vda?socket=/s&freeze=61", "1 to 60"),
        ("qmp+unix:///vda?socket=/s&freeze=long", "1 to 60"), ("qmp+unix:///vda?socket=/s&overlay=1", "overlay"),
        ("qmp+unix:///vda?socket=/s&overlay=8MiB", "overlay"), ("qmp+unix:///vda?socket=/s&overlay=-1GiB", "overlay"),
        ("qmp+unix:///vda?socket=/s&overlay=99999999999999999999GiB", "overlay"),
        ("qmp+unix:///vda?socket=/s&agent=/s", "two purposes"), ("qmp+unix:///v%zz?socket=/s", "names no drive"),
        ("qmp+unix:///v%00?socket=/s", "names no drive"), ("qmp+unix:///v%f?socket=/s", "names no drive"),
        ("qmp+unix:///vda?socket=/%ff", "no value"),
        ("qmp+unix:///vda?socket=/\(String(repeating: "x", count: 107))", "more than 107 bytes"),
    ])
    func `what cannot be one is refused with the reason`(text: String, words: String) {
        #expect {
            try GuestDrive(text)
        } throws: { ($0 as? NameError)?.reason.contains(words) == true && ($0 as? NameError)?.name == text }
    }
}
