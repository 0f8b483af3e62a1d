import Configuration
import Testing

@Suite("Owners of orgs")
struct AccessTests {
    private static let minimal = """
        state_dir = "/state"
        keys_dir = "/keys"
        [backends.local]
        type = "directory"
        path = "/backups"
        [orgs.acme]

        """

    private func access(_ lines: String) throws -> Configuration.Access? {
        try #require(try Configuration.parse(Self.minimal + lines, file: "/etc/c.toml").orgs.first).access
    }

    private func complaint(_ lines: String) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try Configuration.parse(Self.minimal + lines, file: "/etc/c.toml")
            return nil
        } catch {
            return error
        }
    }

    @Test func `an org that names nobody is as the mount says`() throws {
        #expect(try access("") == nil)
    }

    @Test func `users and groups are numbers or names, and a mode is octal`() throws {
        let all = try #require(try access("uid = 1001\ngid = 4294967294\nmode = \"0750\""))
        #expect(all.userID == 1001 && all.groupID == 4_294_967_294 && all.folderMode == 0o750)
        let names = try #require(try access("uid = \"root\"\ngid = \"root\"\nmode = \"700\""))
        #expect(names.userID == 0 && names.groupID == 0 && names.folderMode == 0o700)
        // A system has this one with a number of its own; by name it must be that of /etc/passwd.
        #expect(try access("uid = \"nobody\"")?.userID == 65_534)
        let mode = try #require(try access("mode = \"0000\""))
        #expect(mode.userID == nil && mode.groupID == nil && mode.folderMode == 0)
    }

    @Test func `an owner without a mode is not for all to read`() throws {
        #expect(try access("uid = 0")?.folderMode == 0o750)
        #expect(try access("gid = 0")?.folderMode == 0o750)
    }

    @Test(arguments: [
        ("uid = -1", ConfigurationError.Code.invalidValue), ("gid = 4294967295", .invalidValue),
        ("uid = true", .wrongType), ("gid = 1.5", .wrongType), ("uid = \"\"", .invalidValue),
        ("uid = \"no-such-user-here\"", .invalidValue), ("gid = \"no-such-group-here\"", .invalidValue),
        ("uid = \"a:b\"", .invalidValue), ("mode = 750", .wrongType), ("mode = \"\"", .invalidValue),
        ("mode = \"75\"", .invalidValue), ("mode = \"07500\"", .invalidValue), ("mode = \"0780\"", .invalidValue),
        ("mode = \"1777\"", .invalidValue), ("mode = \"+750\"", .invalidValue), ("mode = \"rwx\"", .invalidValue),
    ])
    func `what is no user, group or mode is named with its file, line and key`(
        _ line: String, _ code: ConfigurationError.Code
    ) throws {
        let error = try #require(complaint("backend = \"local\"\n" + line))
        #expect(error.code == code)
        #expect(error.file == "/etc/c.toml" && error.line == 8)
        #expect(error.key == "orgs.acme." + line.prefix { $0 != " " })
    }
}
