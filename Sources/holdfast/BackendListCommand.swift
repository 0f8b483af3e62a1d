internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Storage

/// All backends, a line each.
struct BackendListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List backends: where they are, whether they answer, how fast they have been.",
        discussion: """
            All are asked at once whether they can be used now; one that says nothing within --timeout seconds is away. UP and DOWN are \
            what the last `backend test` measured, else the median of the agent's last backups, and of the last restores and drills.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: "Seconds within which a backend must answer.") var timeout = 20
    @Flag(help: "Print JSON.") var json = false

    private struct Line: Encodable {
        let name: String
        let type: String
        let region: String?
        let country: String?
        let dr: Bool
        let usable: Bool
        let problem: String?
        let up_bytes_per_second: Int64?
        let down_bytes_per_second: Int64?
        let latency_us: Int64?
        let tested_at: String?
    }

    func validate() throws {
        guard (1...3600).contains(timeout) else { throw ValidationError("--timeout must be between 1 and 3600") }
    }

    func run() throws {
        try common.withEngine { engine, configuration in
            let lines = try engine.checkBackends(within: timeout).map { report in
                let backend = report.backend
                let figures = try engine.figures(of: backend.name)
                return Line(
                    name: "\(backend.name)",
                    type: configuration.backends.first { $0.name == backend.name }?.shown.type ?? "",
                    region: backend.region, country: backend.country, dr: backend.isDisasterRecovery,
                    usable: report.problem == nil, problem: report.problem?.description,
                    up_bytes_per_second: figures.upBytesPerSecond, down_bytes_per_second: figures.downBytesPerSecond,
                    latency_us: figures.lastGoodTest?.latencyMicroseconds,
                    tested_at: figures.lastTest.map { BackupDate(secondsSince1970: $0.testedAt).description })
            }
            if json { return try printJSON(lines) }
            printTable(
                ["BACKEND", "TYPE", "REGION", "COUNTRY", "ROLE", "UP", "DOWN", "LATENCY", "TESTED", "NOW"],
                lines.map { line in
                    [
                        line.name, line.type, line.region ?? "-", line.country ?? "-", line.dr ? "DR" : "-",
                        readableRate(line.up_bytes_per_second), readableRate(line.down_bytes_per_second),
                        line.latency_us.map(readableLatency) ?? "-", line.tested_at ?? "never",
                        line.problem ?? "usable",
                    ]
                })
        }
    }
}

/// Bytes in a second for people; `-` where nobody knows.
func readableRate(_ bytesPerSecond: Int64?) -> String {
    bytesPerSecond.map { readableSize(UInt64(max(0, $0))) + "/s" } ?? "-"
}

/// Milliseconds for people: 0.2 ms, 61.5 ms.
func readableLatency(_ microseconds: Int64) -> String { "\(microseconds / 1000).\(microseconds % 1000 / 100) ms" }
