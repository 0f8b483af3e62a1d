internal import AgeFormat
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import OrgKeys

struct RotateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Make a new identity: new backups are encrypted to it. The older ones stay, and what they open.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String

    func run() throws {
        let key = try keys.directory().rotate(ResourceName(org), createdAt: KeyOptions.now)
        StandardStream.output.write("\(key.recipient)\n")
        StandardStream.error.write(
            """
            hint: keep a copy of the new key elsewhere (holdfast keys export \(org)); give write-only hosts theirs \
            (holdfast keys export --write-only \(org), there: holdfast keys import --add)

            """)
    }
}

struct DeleteKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Remove an identity of an org from this host, or all of its keys.",
        discussion: """
            Refused while the catalog has a backup that no other key here opens. The catalog knows what it knows: \
            `holdfast catalog refresh` first where other hosts back up.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The org.") var org: String
    @Argument(help: "The recipient of the identity, age1…; without it all keys of the org go.") var recipient: String?

    func run() throws {
        try common.withEngine { engine, _ in
            try engine.removeKey(ResourceName(org), recipient.map { try AgeRecipient($0) })
        }
    }
}
