internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import OrgKeys
internal import Storage

struct CatalogCopiesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copies", abstract: "List the encrypted copies of catalogs at the backends, the newest first.",
        discussion: """
            ORIGIN tells catalogs apart: each host has one, and one that was lost and made anew is another. The copies of \
            this host's are marked. `holdfast catalog restore` takes the newest of each.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: "Only this backend.") var backend: String?
    @Option(help: "Only this org.") var org: String?
    @Flag(help: "Print JSON.") var json = false

    private struct Row: Encodable {
        let backend: String
        let org: String
        let date: String
        let origin: String
        let is_own: Bool
        let size: UInt64
        let object: String
    }

    func run() throws {
        let failure = try common.withEngine { engine, _ in
            let names = try backend.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            let orgs = try org.map { [try ResourceName($0)] } ?? engine.orgsOfCopies()
            let own = try engine.catalog.origin()
            var rows: [Row] = []
            var failure: EngineError?
            for name in names {
                let backend = try engine.backend(name)
                do {
                    for org in orgs {
                        rows += try engine.catalogCopies(of: org, at: backend).map { copy in
                            Row(
                                backend: "\(name)", org: "\(org)", date: "\(copy.name.date)", origin: copy.name.origin,
                                is_own: copy.name.origin == own, size: copy.byteCount, object: copy.key.string)
                        }
                    }
                } catch {
                    failure = failure ?? EngineError(error, subject: "backend \"\(name)\"")
                }
            }
            if json {
                try printJSON(rows)
            } else {
                printTable(
                    ["BACKEND", "ORG", "DATE", "ORIGIN", "SIZE"],
                    rows.map {
                        [$0.backend, $0.org, $0.date, $0.origin + ($0.is_own ? " (own)" : ""), readableSize($0.size)]
                    })
            }
            return failure
        }
        if let failure { throw failure }
    }
}

struct CatalogCopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copy the catalog to the backends now, encrypted to each org's key.",
        discussion: "A mount and the commands that change the catalog do so by themselves (`[catalog] copies`).")

    @OptionGroup var common: CommonOptions
    @Option(help: "Only this backend.") var backend: String?
    @Option(help: "Only this org.") var org: String?
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Row: Encodable {
        let backend: String
        let org: String
        let object: String
        let size: UInt64
    }

    func run() throws {
        let failure = try common.withEngine { engine, _ in
            guard engine.catalogCare.copyCount > 0 else {
                throw EngineError(
                    .invalidName, "the configuration says that no copies are kept", hint: "[catalog] copies = 8")
            }
            let names = try backend.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            let orgs = try org.map { [try ResourceName($0)] }
            if let org = orgs?.first { _ = try engine.key(of: org) }
            var rows: [Row] = []
            var failure: EngineError?
            for name in names {
                let result = engine.copyCatalog(to: try engine.backend(name), orgs: orgs, .everything)
                rows += result.made.map { copy in
                    Row(backend: "\(name)", org: "\(copy.name.org)", object: copy.key.string, size: copy.byteCount)
                }
                for failed in result.failed {
                    if failure != nil { ErrorReport(failed.error)?.print() }
                    failure = failure ?? failed.error
                }
            }
            if json {
                try printJSON(rows)
            } else {
                for row in rows {
                    StandardStream.output.write(
                        "copied \(row.org) to \(row.backend): \(row.object), \(readableSize(row.size))\n")
                }
            }
            return failure
        }
        if let failure { throw failure }
    }
}

struct CatalogRestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Take into the catalog what its newest authentic copies at the backends hold.",
        discussion: """
            Backups are registered whose archives prove right; checks, restores and drills come back, too, which the sidecars \
            know nothing of. What is in the catalog stays. `holdfast catalog rebuild` finds what is younger than the copies.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: "Only copies at this backend.") var from: String?
    @Option(help: "Only this org.") var org: String?
    @Flag(help: "Print the result as JSON.") var json = false

    fileprivate struct Result: Encodable {
        let org: String
        let copies: [String]
        let refused_copies: [Refusal]
        let registered: [String]
        let known: [String]
        let refused: [Refusal]
        let refused_count: Int
        let elsewhere: [String: Int]
        let history: Int
    }

    func run() throws {
        let failure = try common.withEngine(changesCatalog: true) { engine, _ in
            try engine.cleanUpAfterCrash()
            let names = try from.map { [try ResourceName($0)] } ?? engine.backends.keys.sorted()
            let backends = try names.map { try engine.backend($0) }
            let orgs =
                try org.map { [try ResourceName($0)] } ?? engine.keys.list().filter { try engine.key(of: $0).canRead }
            guard !orgs.isEmpty else {
                throw EngineError(.noKey, "there is no key here that reads", hint: "holdfast keys import ORG FILE")
            }
            var failure: EngineError?
            var results: [Result] = []
            for org in orgs {
                let found = try engine.restoreCatalog(of: org, from: backends)
                failure = failure ?? found.refused.first?.error
                if found.copies.isEmpty { failure = failure ?? found.refusedCopies.first?.error }
                results.append(Result(found))
            }
            if json {
                try printJSON(results)
            } else {
                for result in results { print(result) }
            }
            return failure
        }
        if let failure { throw failure }
    }

    private func print(_ result: Result) {
        var text = "\(result.org): \(result.registered.count) registered, \(result.known.count) known, "
        text +=
            "\(result.refused_count) refused, \(result.history) checks and runs; from \(result.copies.count) copies\n"
        StandardStream.output.write(text)
        for copy in result.refused_copies { StandardStream.error.write("refused: \(copy.error)\n") }
        for refusal in result.refused { StandardStream.error.write("refused: \(refusal.error)\n") }
        for (name, count) in result.elsewhere.sorted(by: { $0.key < $1.key }) {
            StandardStream.error.write("left out: \(count) backups at \"\(name)\", which is not configured here\n")
        }
    }
}

extension CatalogRestoreCommand.Result {
    fileprivate init(_ found: CatalogRestoreResult) {
        org = "\(found.org)"
        copies = found.copies.map(\.key.string)
        refused_copies = found.refusedCopies.map { Refusal(object: $0.copy.key.string, error: $0.error.detail) }
        registered = found.registered.map(\.description).sorted()
        known = found.known.map(\.description).sorted()
        refused = found.refused.map { Refusal(object: $0.name, error: $0.error.detail) }
        refused_count = found.refusedCount
        elsewhere = Dictionary(uniqueKeysWithValues: found.elsewhere.map { ("\($0.key)", $0.value) })
        history = found.historyCount
    }
}

extension Engine {
    /// The orgs that may have copies: those with a key here, and those in the catalog.
    fileprivate func orgsOfCopies() throws -> [ResourceName] {
        Set(try keys.list() + catalog.copiedOrgs()).sorted()
    }
}
