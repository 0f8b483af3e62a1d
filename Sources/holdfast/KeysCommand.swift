internal import AgeFormat
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Configuration
internal import CryptoPrimitives
internal import Foundation
internal import OrgKeys
internal import SystemIO

struct KeysCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "The orgs' keys: standard age identity files.",
        subcommands: [
            CreateKey.self, ListKeys.self, ShowKey.self, ExportKey.self, ImportKey.self,
        ])
}

/// The key folder alone is needed here, not the engine.
struct KeyOptions: ParsableArguments {
    @OptionGroup var common: CommonOptions

    func directory() throws -> KeyDirectory {
        KeyDirectory(path: try Configuration.load(path: common.config).keysDirectory)
    }
}

private func describe(_ key: OrgKey) -> String { key.canRead ? "read and write" : "write only" }

struct CreateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a new key for an org. An existing one is never overwritten.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String

    func run() throws {
        let now = ISO8601DateFormatter().string(from: Date())
        let key = try keys.directory().create(ResourceName(org), createdAt: now)
        StandardStream.output.write("\(key.recipient)\n")
        StandardStream.error.write(
            "hint: without this key the backups of \"\(org)\" cannot be read: keep a copy elsewhere (holdfast keys export)\n"
        )
    }
}

struct ListKeys: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the orgs that have a key here.")

    @OptionGroup var keys: KeyOptions
    @Flag(help: "Print JSON.") var json = false

    struct Row: Encodable {
        let org: String
        let recipient: String
        let can_read: Bool
    }

    func run() throws {
        let directory = try keys.directory()
        let rows = try directory.list().map { org in
            let key = try directory.key(for: org)
            return Row(org: "\(org)", recipient: key.recipient.string, can_read: key.canRead)
        }
        if json { return try printJSON(rows) }
        printTable(
            ["ORG", "RECIPIENT", "USE"],
            rows.map { [$0.org, $0.recipient, $0.can_read ? "read and write" : "write only"] })
    }
}

struct ShowKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the public half of an org's key.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let key = try keys.directory().key(for: ResourceName(org))
        if json {
            return try printJSON(ListKeys.Row(org: org, recipient: key.recipient.string, can_read: key.canRead))
        }
        StandardStream.output.write("org         \(org)\nrecipient   \(key.recipient)\nuse         \(describe(key))\n")
    }
}

struct ExportKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write an org's key to standard output: keep it secret.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Flag(help: "Only what a host needs to back up, without being able to read.") var writeOnly = false

    func run() throws {
        let directory = try keys.directory()
        let org = try ResourceName(org)
        let secret = try writeOnly ? directory.exportWriteOnly(org) : directory.exportIdentity(org)
        try secret.withUnsafeBytes { try SecretFile.writeToStandardOutput($0) }
    }
}

struct ImportKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Take in an org's key: an age identity file or a write-only file.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Argument(help: "The file, or - for standard input.") var file: String

    func run() throws {
        let secret = try SecretFile.read(file)
        let key = try secret.withUnsafeBytes { try keys.directory().importKey(ResourceName(org), $0) }
        StandardStream.output.write("\(key.recipient)\n")
    }
}
