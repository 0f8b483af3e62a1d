internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import Foundation
internal import Logging

/// The option that every verb takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "The configuration file (else $HOLDFAST_CONFIG, /etc/holdfast/config.toml, the embedded default).")
    var config: String?

    /// Runs `body` with an engine as configured, whose log goes to standard error from warnings on. One that may change the
    /// catalog has it copied to the backends at its end, whatever came of it.
    func withEngine<Result>(
        usesRangeCache: Bool = false, changesCatalog: Bool = false, _ body: (Engine, Configuration) throws -> Result
    ) throws -> Result {
        let configuration = try Configuration.load(path: config)
        let log = Logger(label: "holdfast") { _ in
            LineLogHandler(descriptor: StandardStream.error.rawValue, level: .warning, showsTime: false)
        }
        let engine = try Composition.engine(configuration, usesRangeCache: usesRangeCache, log: log)
        defer { engine.close() }
        defer { if changesCatalog { engine.copyCatalogBriefly() } }
        return try body(engine, configuration)
    }
}

extension Engine {
    /// Finds the one backup that a name means; `latest` is looked up, over all backends where none is named.
    func find(_ name: String) throws -> BackupIdentifier {
        let pattern = try BackupPattern(name)
        let found = try catalog.allBackups().filter { pattern.matches($0.identifier) }
        switch pattern.date {
        case .latest:
            guard let newest = found.max(by: { $0.identifier.date < $1.identifier.date }) else { break }
            return newest.identifier
        case .exactly:
            guard let first = found.first else { break }
            guard found.count == 1 else {
                throw EngineError(
                    .invalidName, "\"\(name)\" is on several backends",
                    hint: "name one: " + found.map(\.identifier.description).joined(separator: ", "))
            }
            return first.identifier
        }
        throw EngineError(.notFound, "there is no backup \"\(name)\"", hint: "`holdfast list` shows what there is")
    }
}

/// Writes a value as JSON to standard output: two spaces, members sorted.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    StandardStream.output.write(Array(try encoder.encode(value)) + [UInt8(ascii: "\n")])
}

/// Columns with two spaces between them; the last one is not padded.
func printTable(_ header: [String], _ rows: [[String]]) {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    var text = ""
    for row in all {
        let cells = row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
        }
        text += cells.joined(separator: "  ") + "\n"
    }
    StandardStream.output.write(text)
}

/// Bytes for people: 1.8 GiB.
func readableSize(_ byteCount: UInt64) -> String {
    var value = Double(byteCount)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0 ? "\(byteCount) B" : String(format: "%.1f %@", value, units[unit])
}

/// An age in whole seconds for people: 7 s, 4:05 min, 7:05 h, 3 d 2 h.
func readableAge(_ seconds: Int64) -> String {
    seconds < 100
        ? "\(max(0, seconds)) s" : readableDuration(seconds.multipliedReportingOverflow(by: 1000).partialValue)
}

/// A length of time for people: 0.012 s, 2.3 s, 4:05 min, 7:05 h, 3 d 2 h.
func readableDuration(_ milliseconds: Int64) -> String {
    let seconds = milliseconds / 1000
    return switch seconds {
    case ..<1: String(format: "%.3f s", Double(milliseconds) / 1000)
    case ..<100: String(format: "%.1f s", Double(milliseconds) / 1000)
    case ..<6000: String(format: "%lld:%02lld min", seconds / 60, seconds % 60)
    case ..<172_800: String(format: "%lld:%02lld h", seconds / 3600, seconds / 60 % 60)
    default: "\(seconds / 86_400) d \(seconds / 3600 % 24) h"
    }
}
