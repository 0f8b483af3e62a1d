internal import ArgumentParser
internal import BackupEngine
internal import CryptoPrimitives

struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Verify a backup completely, then write it to a file or a block device.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String
    @Argument(help: "A file or a block device. It is not touched before the whole backup is verified.") var target:
        String
    @Flag(help: "Overwrite a file that has data, or a device that is not empty.") var force = false
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Result: Encodable {
        let backup: String
        let target: String
        let raw_size: UInt64
        let data_size: UInt64
        let raw_sha256: String
    }

    func run() throws {
        try common.withEngine(usesRangeCache: true) { engine, _ in
            let identifier = try engine.find(name)
            let line = ProgressLine()
            defer { line.end() }
            let result = try engine.restore(identifier, to: target, force: force) { phase, done, total in
                line.show(phase.rawValue, done, total)
            }
            line.end()
            if json {
                try printJSON(
                    Result(
                        backup: "\(identifier)", target: target, raw_size: result.rawByteCount,
                        data_size: result.dataByteCount, raw_sha256: result.rawSHA256.hexadecimal))
            } else {
                StandardStream.output.write(
                    """
                    restored    \(identifier) to \(target)
                    raw         \(readableSize(result.rawByteCount)), of it data \(readableSize(result.dataByteCount))
                    sha256      \(result.rawSHA256)

                    """)
            }
        }
    }
}
