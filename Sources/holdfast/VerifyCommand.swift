internal import ArgumentParser
internal import BackupEngine
internal import CryptoPrimitives

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check a backup: its archive, or everything down to the hash of the disk.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String
    @Flag(help: "Only the size and hash of the archive: needs no key.") var archive = false
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Result: Encodable {
        let backup: String
        let depth: String
        let archive_size: UInt64
        let archive_sha256: String
        let raw_size: UInt64
        let raw_sha256: String?
    }

    func run() throws {
        try common.withEngine { engine, _ in
            let identifier = try engine.find(name)
            let line = ProgressLine()
            defer { line.end() }
            let depth: VerificationDepth = archive ? .archive : .everything
            let result = try engine.verify(identifier, depth) { line.show("verify", $0, $1) }
            line.end()
            if json {
                return try printJSON(
                    Result(
                        backup: "\(identifier)", depth: depth.rawValue, archive_size: result.archiveByteCount,
                        archive_sha256: result.archiveSHA256.hexadecimal, raw_size: result.rawByteCount,
                        raw_sha256: result.rawSHA256?.hexadecimal))
            }
            var text =
                "verified    \(identifier)\narchive     \(readableSize(result.archiveByteCount)), sha256 \(result.archiveSHA256)\n"
            if let raw = result.rawSHA256 {
                text += "raw         \(readableSize(result.rawByteCount)), sha256 \(raw)\n"
            }
            StandardStream.output.write(text)
        }
    }
}
