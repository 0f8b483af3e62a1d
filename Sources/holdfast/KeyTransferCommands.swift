internal import AgeFormat
internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import CryptoPrimitives
internal import Glibc
internal import OrgKeys

struct PassphraseFileOption: ParsableArguments {
    @Option(
        help: "Take the passphrase from this file, one line (/dev/fd/N for a descriptor); the terminal is asked else.")
    var passphraseFile: String?
}

struct ExportKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write an org's key to standard output: keep it secret.",
        discussion: """
            With --passphrase or --passphrase-file the output is encrypted to a passphrase, in age's own format: \
            `age -d` and `holdfast keys import` open it, and `age -i` takes it as it is.
            """)

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Flag(help: "Only what a host needs to back up, without being able to read.") var writeOnly = false
    @Flag(help: "Encrypt the output to a passphrase.") var passphrase = false
    @OptionGroup var source: PassphraseFileOption

    func run() throws {
        let directory = try keys.directory()
        let org = try ResourceName(org)
        let secret = try writeOnly ? directory.exportWriteOnly(org) : directory.exportIdentity(org)
        guard passphrase || source.passphraseFile != nil else {
            return try secret.withUnsafeBytes { try SecretFile.writeToStandardOutput($0) }
        }
        guard isatty(1) == 0 else {
            throw ValidationError("The output is binary: send it to a file.")
        }
        let words = try Passphrase.read(
            file: source.passphraseFile, prompt: "Passphrase for the key of \(org): ", asksTwice: true)
        let file = try Age.encrypt(secret, passphrase: words)
        try file.withUnsafeBytes { try SecretFile.writeToStandardOutput($0) }
    }
}

struct ImportKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Take in an org's key: an age identity file, of one identity or several, or a write-only file.",
        discussion:
            "A file that is encrypted to a passphrase, by `holdfast keys export` or `age -p`, is opened with it.")

    @OptionGroup var keys: KeyOptions
    @Argument(help: "The org.") var org: String
    @Argument(help: "The file, or - for standard input.") var file: String
    @Flag(help: "Add to the key that is there: identities behind its own; a write-only key is brought up to date.")
    var add = false
    @OptionGroup var source: PassphraseFileOption

    func run() throws {
        // Room for the header and the tag of a key file under a passphrase.
        let content = try SecretFile.read(file, maximumByteCount: SecretFile.maximumByteCount + 1024)
        let secret = try opened(content)
        let directory = try keys.directory()
        let org = try ResourceName(org)
        let key = try secret.withUnsafeBytes {
            try add ? directory.addKey(org, $0) : directory.importKey(org, $0)
        }
        StandardStream.output.write("\(key.recipient)\n")
    }

    private func opened(_ content: SecretBytes) throws -> SecretBytes {
        try content.withUnsafeBytes { bytes in
            guard !bytes.starts(with: Array("-----BEGIN AGE ENCRYPTED FILE-----".utf8)) else {
                throw EngineError(
                    .badKeyFile, "\"\(file)\" is armored",
                    hint: "age -d \(file) | holdfast keys import \(org) -")
            }
            guard Age.isUnderPassphrase(bytes) else { return content }
            let words = try Passphrase.read(
                file: source.passphraseFile, prompt: "Passphrase of \(file): ", asksTwice: false)
            do throws(AgeError) {
                return try Age.decrypt(bytes, passphrase: words)
            } catch {
                throw EngineError(
                    error.code == .noMatch ? .wrongKey : .badKeyFile, "\"\(file)\": \(error)", cause: error)
            }
        }
    }
}
