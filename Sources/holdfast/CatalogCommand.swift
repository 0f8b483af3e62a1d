internal import ArgumentParser
internal import BackupEngine
internal import BackupNames

struct CatalogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "catalog", abstract: "The catalog of backups.",
        subcommands: [
            RebuildCommand.self, RefreshCommand.self, CatalogCopiesCommand.self, CatalogCopyCommand.self,
            CatalogRestoreCommand.self, CatalogCheckCommand.self,
        ])
}

/// A sidecar or archive that was looked at and not taken in.
struct Refusal: Encodable {
    let object: String
    let error: String
}

struct RebuildCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Take every backup found at the backends into the catalog, by its sidecar and the org's key.")

    @OptionGroup var common: CommonOptions
    @Option(help: "Only this backend.") var backend: String?
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Result: Encodable {
        let backend: String
        let registered: [String]
        let known: [String]
        let left_over: [String]
        let gone: [Refusal]
        let refused: [Refusal]
        let refused_count: Int
    }

    func run() throws {
        let refusals = try common.withEngine(changesCatalog: true) { engine, _ in
            // What an interrupted backup left is no backup.
            try engine.cleanUpAfterCrash()
            let names = try backend.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            var results: [Result] = []
            var worst: EngineError?
            for name in names {
                let result = try engine.rebuildCatalog(from: engine.backend(name))
                worst = worst ?? result.refused.first?.error ?? result.gone.first?.error
                results.append(
                    Result(
                        backend: "\(name)", registered: result.registered.map(\.description),
                        known: result.known.map(\.description),
                        left_over: result.leftOvers,
                        gone: result.gone.map { Refusal(object: "\($0.identifier)", error: $0.error.detail) },
                        refused: result.refused.map { Refusal(object: $0.name, error: $0.error.detail) },
                        refused_count: result.refusedCount))
            }
            if json {
                try printJSON(results)
            } else {
                for result in results {
                    StandardStream.output.write(
                        "\(result.backend): \(result.registered.count) registered, \(result.known.count) known, "
                            + "\(result.refused_count) refused\n")
                    for name in result.left_over {
                        StandardStream.error.write("left over: \(name): a later wrapping of the backup is registered\n")
                    }
                    for gone in result.gone { StandardStream.error.write("gone: \(gone.error)\n") }
                    for refusal in result.refused { StandardStream.error.write("refused: \(refusal.error)\n") }
                }
            }
            return worst
        }
        // What could be taken in is in; that something could not must not look like success.
        if let refusals { throw refusals }
    }
}

struct RefreshCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refresh",
        abstract: "Look for backups that other hosts have put at the backends: only what is new is fetched.",
        discussion: """
            A mount does the same every few minutes. What was refused before is not looked at again until it changes; \
            `holdfast catalog rebuild` looks at everything.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: "Only this backend.") var backend: String?
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Result: Encodable {
        let backend: String
        let registered: [String]
        let refused: [Refusal]
        let refused_count: Int
        let refused_before: Int
        let left: Int
    }

    func run() throws {
        let refusals = try common.withEngine(changesCatalog: true) { engine, _ in
            let names = try backend.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            var results: [Result] = []
            var worst: EngineError?
            for name in names {
                do {
                    let result = try CatalogRefresh(engine, engine.backend(name)).run()
                    worst = worst ?? result.refused.first?.error
                    results.append(
                        Result(
                            backend: "\(name)", registered: result.registered.map(\.description),
                            refused: result.refused.map { Refusal(object: $0.name, error: $0.error.detail) },
                            refused_count: result.refusedCount, refused_before: result.rememberedCount,
                            left: result.leftCount))
                } catch {
                    // One backend that is away keeps nobody from looking at the others.
                    if worst != nil || names.count > 1 { ErrorReport(error)?.print() }
                    worst = worst ?? EngineError(error, subject: "backend \"\(name)\"")
                }
            }
            if json {
                try printJSON(results)
            } else {
                for result in results {
                    var text =
                        "\(result.backend): \(result.registered.count) registered, \(result.refused_count) refused, "
                        + "\(result.refused_before) refused before"
                    if result.left > 0 { text += ", \(result.left) left for the next time" }
                    StandardStream.output.write(text + "\n")
                    for refusal in result.refused { StandardStream.error.write("refused: \(refusal.error)\n") }
                }
            }
            return worst
        }
        if let refusals { throw refusals }
    }
}
