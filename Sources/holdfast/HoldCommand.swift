internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog

struct HoldCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hold", abstract: "Keep a backup whatever retention says: a legal hold.",
        discussion: """
            Without a name the backups that are held are listed. Retention and `prune` never remove one that is held, here or at any \
            other host that looks at its backend; --release lets it go again.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backup: [BACKEND:]ORG/VM/DATE[/DISK], DATE may be latest.") var name: String?
    @Option(help: "Why, for whoever asks later.") var reason = ""
    @Flag(help: "Let it go again.") var release = false
    @Flag(help: "Print the list as JSON.") var json = false

    func validate() throws {
        if release, name == nil { throw ValidationError("--release needs the name of a backup") }
        if !reason.isEmpty, release || name == nil { throw ValidationError("--reason is for a backup to be held") }
        let isText = reason.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard reason.utf8.count <= 1000, isText else {
            throw ValidationError("--reason must be a line of at most 1000 bytes")
        }
    }

    private struct Held: Encodable {
        let backup: String
        let held_at: String
        let reason: String
    }

    func run() throws {
        try common.withEngine(changesCatalog: name != nil) { engine, _ in
            guard let name else { return try list(engine) }
            let identifier = try engine.find(name)
            if release {
                try engine.release(identifier)
            } else {
                try engine.hold(identifier, reason: reason)
            }
            StandardStream.output.write("\(release ? "released" : "held")  \(identifier)\n")
        }
    }

    private func list(_ engine: Engine) throws {
        let holds = try engine.catalog.holds()
        if json {
            return try printJSON(
                holds.map {
                    Held(
                        backup: "\($0.identifier)", held_at: BackupDate(secondsSince1970: $0.heldAt).description,
                        reason: $0.reason)
                })
        }
        printTable(
            ["BACKUP", "HELD SINCE", "REASON"],
            holds.map {
                ["\($0.identifier)", BackupDate(secondsSince1970: $0.heldAt).description, $0.reason]
            })
    }
}
