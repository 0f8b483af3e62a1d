internal import ArgumentParser
internal import BackupEngine
internal import CryptoPrimitives

struct RestoreCommand: ParsableCommand {
    /// Of a restore that went on past damage.
    static let incompleteCode = ExitCode(13)

    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Verify a backup completely, then write it to a file or a block device.",
        discussion: """
            Of what was on the target nothing is touched before the whole backup is verified. --stream writes while it \
            verifies; until all is proven the target's first and last MiB are zeros. --salvage goes on past what is damaged, \
            with zeros in its place, says what is lost, and ends with code 13.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String
    @Argument(help: "A file, a block device, or - for standard output.") var target: String
    @Flag(help: "Overwrite a file that has data, or a device that is not empty.") var force = false
    @Flag(help: "One pass: each frame is authenticated before it is written, the whole hash comes at the end.")
    var stream = false
    @Flag(help: "Go on past damaged frames, with zeros in their place.") var salvage = false
    @Flag(help: "Go on where an interrupted restore to this target stopped; what is there is checked.") var resume =
        false
    @Flag(help: "Print the result as JSON.") var json = false

    func validate() throws {
        guard !(stream && salvage) else { throw ValidationError("--stream and --salvage exclude each other") }
        guard target != "-" || !(json || resume) else {
            throw ValidationError("standard output is the image itself: no --json, no --resume")
        }
    }

    private struct Result: Encodable {
        let backup: String
        let target: String
        let raw_size: UInt64
        let data_size: UInt64
        let raw_sha256: String?
        let complete: Bool
        let lost_bytes: UInt64
        let resumed_bytes: UInt64
        let fetched_bytes: UInt64
        let healed_ranges: Int
        let lost: [LostRangeRow]
    }

    func run() throws {
        let isComplete = try common.withEngine(usesRangeCache: true, changesCatalog: true) { engine, _ in
            let identifier = try engine.find(name)
            let line = ProgressLine()
            defer { line.end() }
            var options = RestoreOptions(
                mode: salvage ? .salvage : stream ? .stream : .verifyFirst, force: force, resumes: resume)
            options.notice = { StandardStream.error.write("note: \($0)\n") }
            let result = try engine.recordingRestore(of: identifier) {
                try engine.restore(identifier, to: target, options) { phase, done, total in
                    line.show(phase.rawValue, done, total)
                }
            }
            line.end()
            let lost = LostRange.list(of: result.damage, (try? engine.partitions(of: identifier)) ?? [])
            if json {
                try printJSON(
                    Result(
                        backup: "\(identifier)", target: target, raw_size: result.rawByteCount,
                        data_size: result.dataByteCount, raw_sha256: result.rawSHA256?.hexadecimal,
                        complete: result.isComplete, lost_bytes: result.lostByteCount,
                        resumed_bytes: result.resumedByteCount, fetched_bytes: result.fetchedByteCount,
                        healed_ranges: result.damage.count(where: \.isHealed), lost: lost.map(LostRangeRow.init)))
            } else {
                // Standard output may be the image itself.
                (target == "-" ? StandardStream.error : .output).write(text(result, lost))
            }
            return result.isComplete
        }
        guard isComplete else { throw Self.incompleteCode }
    }

    private func text(_ result: RestoreResult, _ lost: [LostRange]) -> String {
        var text = """
            restored    \(result.identifier) to \(target)
            raw         \(readableSize(result.rawByteCount)), of it data \(readableSize(result.dataByteCount))

            """
        if result.resumedByteCount > 0 {
            text += "resumed     \(readableSize(result.resumedByteCount)) were on the target already\n"
        }
        let healed = result.damage.count(where: \.isHealed)
        if healed > 0 { text += "healed      \(healed) damaged ranges, from a replica\n" }
        if let digest = result.rawSHA256 {
            text += "sha256      \(digest)\n"
        } else {
            text += "INCOMPLETE  \(readableSize(result.lostByteCount)) are lost; zeros stand in their place\n"
        }
        for range in lost { text += "lost        \(range.described)\n" }
        return text
    }
}
