internal import ArgumentParser
internal import BackupNames
internal import CryptoPrimitives
internal import OrgKeys

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
        commandName: "import",
        abstract: "Take in an org's key: an age identity file, of one identity or several, or a write-only file.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Argument(help: "The file, or - for standard input.") var file: String
    @Flag(help: "Add to the key that is there: identities behind its own; a write-only key is brought up to date.")
    var add = false

    func run() throws {
        let secret = try SecretFile.read(file)
        let directory = try keys.directory()
        let org = try ResourceName(org)
        let key = try secret.withUnsafeBytes {
            try add ? directory.addKey(org, $0) : directory.importKey(org, $0)
        }
        StandardStream.output.write("\(key.recipient)\n")
    }
}
