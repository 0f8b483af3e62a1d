internal import ArgumentParser
internal import BackupEngine
internal import BackupNames

struct CatalogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "catalog", abstract: "The catalog of backups.", subcommands: [RebuildCommand.self])
}

struct RebuildCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Take every backup found at the backends into the catalog, by its sidecar and the org's key.")

    @OptionGroup var common: CommonOptions
    @Option(help: "Only this backend.") var backend: String?
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Refusal: Encodable {
        let object: String
        let error: String
    }

    private struct Result: Encodable {
        let backend: String
        let registered: [String]
        let known: [String]
        let refused: [Refusal]
    }

    func run() throws {
        let refusals = try common.withEngine { engine, _ in
            let names = try backend.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            var results: [Result] = []
            var worst: EngineError?
            for name in names {
                let result = try engine.rebuildCatalog(from: engine.backend(name))
                worst = worst ?? result.refused.first?.error
                results.append(
                    Result(
                        backend: "\(name)", registered: result.registered.map(\.description),
                        known: result.known.map(\.description),
                        refused: result.refused.map { Refusal(object: $0.name, error: $0.error.detail) }))
            }
            if json {
                try printJSON(results)
            } else {
                for result in results {
                    StandardStream.output.write(
                        "\(result.backend): \(result.registered.count) registered, \(result.known.count) known, "
                            + "\(result.refused.count) refused\n")
                    for refusal in result.refused { StandardStream.error.write("refused: \(refusal.error)\n") }
                }
            }
            return worst
        }
        // What could be taken in is in; that something could not must not look like success.
        if let refusals { throw refusals }
    }
}
