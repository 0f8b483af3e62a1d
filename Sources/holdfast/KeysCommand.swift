internal import AgeFormat
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import Foundation
internal import OrgKeys

struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "The orgs' keys: standard age identity files.",
        subcommands: [
            CreateKey.self, ListKeys.self, ShowKey.self, ExportKey.self, ImportKey.self, RotateKey.self,
            DeleteKey.self, RewrapKeys.self,
        ])
}

/// The key folder alone is needed here, not the engine.
struct KeyOptions: ParsableArguments {
    @OptionGroup var common: CommonOptions

    func directory() throws -> KeyDirectory {
        KeyDirectory(path: try Configuration.load(path: common.config).keysDirectory)
    }

    /// As the comments of age's key files have it.
    static var now: String { ISO8601DateFormatter().string(from: Date()) }
}

/// An org's key, as JSON.
struct KeyRow: Encodable {
    struct Identity: Encodable {
        let recipient: String
        let created_at: String?
        let current: Bool
    }

    let org: String
    let recipient: String
    let can_read: Bool
    let identities: [Identity]
    /// The keys besides that the org's archives are encrypted to.
    let recovery_recipients: [String]

    init(_ org: ResourceName, _ directory: KeyDirectory, _ configuration: Configuration) throws {
        let key = try directory.key(for: org)
        self.org = "\(org)"
        recipient = key.recipient.string
        can_read = key.canRead
        identities = try directory.entries(of: org).map {
            Identity(recipient: $0.recipient.string, created_at: $0.createdAt, current: $0.isCurrent)
        }
        recovery_recipients = configuration.orgs.first { $0.name == org }?.recoveryRecipients ?? []
    }

    func use(_ identity: Identity) -> String {
        guard can_read else { return "write only" }
        return identity.current ? "read and write" : "read"
    }
}

struct CreateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a new key for an org. An existing one is never overwritten.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String

    func run() throws {
        let key = try keys.directory().create(ResourceName(org), createdAt: KeyOptions.now)
        StandardStream.output.write("\(key.recipient)\n")
        StandardStream.error.write(
            "hint: without this key the backups of \"\(org)\" cannot be read: keep a copy elsewhere (holdfast keys export)\n"
        )
    }
}

struct ListKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the orgs that have a key here, with all identities; the current one first."
    )

    @OptionGroup var keys: KeyOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let configuration = try Configuration.load(path: keys.common.config)
        let directory = KeyDirectory(path: configuration.keysDirectory)
        let rows = try directory.list().map { try KeyRow($0, directory, configuration) }
        if json { return try printJSON(rows) }
        printTable(
            ["ORG", "RECIPIENT", "USE", "CREATED"],
            rows.flatMap { row in
                row.identities.map { [row.org, $0.recipient, row.use($0), $0.created_at ?? "-"] }
            })
    }
}

struct ShowKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the public half of an org's key, and who else can read its backups.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let configuration = try Configuration.load(path: keys.common.config)
        let row = try KeyRow(ResourceName(org), KeyDirectory(path: configuration.keysDirectory), configuration)
        if json { return try printJSON(row) }
        var text = "org         \(row.org)\nrecipient   \(row.recipient)\n"
        text += "use         \(row.can_read ? "read and write" : "write only")\n"
        for identity in row.identities {
            if identity.current {
                if let createdAt = identity.created_at { text += "created     \(createdAt)\n" }
            } else {
                text += "older       \(identity.recipient)" + (identity.created_at.map { " of \($0)" } ?? "") + "\n"
            }
        }
        for recipient in row.recovery_recipients { text += "recovery    \(recipient)\n" }
        StandardStream.output.write(text)
    }
}
