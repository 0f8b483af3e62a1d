internal import ArgumentParser
internal import BackupEngine
internal import BackupNames

/// Makes replicas.
struct BackendCopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy",
        abstract: "Copy backups to another backend, as they are stored.",
        discussion: """
            The copy is the same archive, and a backup of its own there. Reads, restores and checks of the one take from the \
            other what is damaged or away. The hash is checked on the way: a damaged archive is not copied.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "Backups, [BACKEND:]ORG/VM/DATE[/DISK] with DATE perhaps latest, or the start of their names.")
    var names: [String]
    @Option(help: "The backend that they are copied to.") var to: String

    func run() throws {
        let failure: EngineError? = try common.withEngine(changesCatalog: true) { engine, _ in
            let target = try engine.backend(ResourceName(to)).name
            try engine.cleanUpAfterCrash(only: target)
            let identifiers = try engine.select(names).filter { $0.backend != target }
            let line = ProgressLine()
            defer { line.end() }
            var first: EngineError?
            for (index, identifier) in identifiers.enumerated() {
                let phase = identifiers.count == 1 ? "copy" : "copy \(index + 1)/\(identifiers.count)"
                do throws(EngineError) {
                    let result = try engine.replicate(identifier, to: target) { line.show(phase, $0, $1) }
                    line.end()
                    switch result {
                    case .copied(let copy, let count):
                        StandardStream.output.write("copied      \(copy), \(readableSize(count))\n")
                    case .known(let copy): StandardStream.output.write("there       \(copy)\n")
                    }
                } catch {
                    line.end()
                    if first != nil { ErrorReport(error)?.print() }
                    first = first ?? error
                }
            }
            return first
        }
        if let failure { throw failure }
    }
}
