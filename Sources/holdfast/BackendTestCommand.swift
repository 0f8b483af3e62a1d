internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Daemon
internal import Synchronization

/// Whether backends do what they must, and how fast.
struct BackendTestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test",
        abstract: "Try backends out: write, look at, read, list and remove a probe object, and measure it.",
        discussion: """
            What is measured is kept and shown by `backend list`. Nothing is left behind: a probe that was interrupted is removed at \
            once, and what a process that was killed left by the next test or `backend gc`. A backend that locks everything (object_lock_days) \
            keeps the probe's bytes, hidden, until then.

            Exit code: 0, or 6 when a step fails that the backend is to blame for; the error names the step.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backends.") var names: [String]
    @Option(help: "How large the probe is, such as 256MiB.") var size = "32MiB"
    @Flag(help: "Print JSON.") var json = false

    private struct Result: Encodable {
        let backend: String
        let outcome: String
        let failed_step: String?
        let detail: String?
        let bytes: UInt64
        let latency_us: Int64
        let up_bytes_per_second: Int64
        let down_bytes_per_second: Int64
        /// Of each step that went well.
        let milliseconds: [String: Int64]
        let locked_until: String?
    }

    private var byteCount: UInt64? {
        SizeText.byteCount(size).flatMap { (1...64 << 30).contains($0) ? UInt64($0) : nil }
    }

    func validate() throws {
        guard byteCount != nil else { throw ValidationError("--size must be 1 byte to 64GiB, such as 256MiB") }
    }

    func run() throws {
        let signals = EndingSignals()
        let stop = StopFlag()
        signals.setHandler { _ in stop.set() }
        let code: ExitCode? = try common.withEngine { engine, _ in
            var first: EngineError?
            var results: [Result] = []
            for name in try names.map({ try engine.backend(ResourceName($0)).name }) {
                let line = ProgressLine()
                defer { line.end() }
                let report = try engine.test(
                    name, byteCount: byteCount ?? 0, isStopped: { stop.isSet },
                    progress: { line.show("\(name): \($0.rawValue)", $1, $2) })
                line.end()
                results.append(result(name, report))
                if !json { tell(name, report) }
                first = first ?? report.failure?.error
            }
            if json { try printJSON(results) }
            return first.map { ExitCode(exitCode(of: $0)) }
        }
        if let code { throw code }
    }

    /// What is wrong with the bytes that a backend gives is the backend's fault here.
    private func exitCode(of error: EngineError) -> Int32 {
        switch ErrorReport.exitCode(of: error.code) {
        case 3, 5, 14: 6
        case let code: code
        }
    }

    private func result(_ name: ResourceName, _ report: BackendTestReport) -> Result {
        let record = report.record
        return Result(
            backend: "\(name)", outcome: record.outcome, failed_step: report.failure?.step.rawValue,
            detail: report.failure?.error.detail, bytes: report.byteCount, latency_us: record.latencyMicroseconds,
            up_bytes_per_second: record.upBytesPerSecond, down_bytes_per_second: record.downBytesPerSecond,
            milliseconds: Dictionary(uniqueKeysWithValues: report.milliseconds.map { ($0.key.rawValue, $0.value) }),
            locked_until: report.lockedUntil.map { BackupDate(secondsSince1970: $0).description })
    }

    private func tell(_ name: ResourceName, _ report: BackendTestReport) {
        if let (step, error) = report.failure {
            StandardStream.error.write("error: backend \"\(name)\": the step \"\(step.rawValue)\" failed: \(error)\n")
            if let hint = error.hint { StandardStream.error.write("hint: \(hint)\n") }
            return
        }
        let record = report.record
        StandardStream.output.write(
            """
            backend     \(name)
            result      good
            probe       \(readableSize(report.byteCount))
            up          \(readableRate(record.upBytesPerSecond))
            down        \(readableRate(record.downBytesPerSecond))
            latency     \(readableLatency(record.latencyMicroseconds))

            """)
        if let end = report.lockedUntil {
            StandardStream.output.write(
                "locked      the probe is hidden, and stays until \(BackupDate(secondsSince1970: end))\n")
        }
    }
}

/// Set once, by a signal.
private final class StopFlag: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool { flag.load(ordering: .relaxed) }

    func set() { flag.store(true, ordering: .relaxed) }
}
