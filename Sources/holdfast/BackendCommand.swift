internal import ArgumentParser
internal import BackupEngine
internal import BackupNames
internal import Catalog
internal import Configuration
internal import Foundation
internal import Retention
internal import Storage

struct BackendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backend", abstract: "The places archives are kept.",
        subcommands: [
            BackendListCommand.self, BackendShowCommand.self, BackendCheckCommand.self, BackendTestCommand.self,
            BackendCollectCommand.self, BackendCopyCommand.self,
        ])
}

/// Whether backends can be used, asked now.
struct BackendCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract:
            "Ask backends whether they can be used as configured: address, certificate, credentials, bucket, clock.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backends; all without one.") var names: [String] = []

    func run() throws {
        let failure = try common.withEngine { engine, _ in
            let names = try engine.named(names)
            var first: EngineError?
            for report in engine.checkBackends(names) {
                guard let problem = report.problem else {
                    StandardStream.output.write("\(report.backend.name)  usable\n")
                    continue
                }
                let error = EngineError(problem, subject: "backend \"\(report.backend.name)\"")
                if first != nil { ErrorReport(error)?.print() }
                first = first ?? error
            }
            return first
        }
        if let failure { throw failure }
    }
}

/// What is configured, what the server can do, and whether it can be used now.
struct BackendShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show backends: where they are, what their server can do, how they are now.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backends; all without one.") var names: [String] = []
    @Flag(help: "Find out anew what the servers can do; writes and removes small objects.") var probe = false
    @Flag(help: "Print the result as JSON.") var json = false

    private struct Shown: Encodable {
        let name: String
        let type: String
        let place: String
        let region: String?
        let country: String?
        let dr: Bool
        let usable: Bool
        let problem: String?
        let hint: String?
        let abilities: [String: String]
        /// What is in force.
        let tuning: [String: String]
        let minimum_billed_days: Int
        let eur_per_terabyte_month: String
        let backups_bytes_per_second: Int64?
        let restores_bytes_per_second: Int64?
        let last_test: Test?
    }

    private struct Test: Encodable {
        let tested_at: String
        let outcome: String
        let detail: String
        let latency_us: Int64
        let up_bytes_per_second: Int64
        let down_bytes_per_second: Int64

        init(_ test: BackendTestRecord) {
            tested_at = BackupDate(secondsSince1970: test.testedAt).description
            outcome = test.outcome
            detail = test.detail
            latency_us = test.latencyMicroseconds
            up_bytes_per_second = test.upBytesPerSecond
            down_bytes_per_second = test.downBytesPerSecond
        }

        var text: String {
            guard outcome == BackendTestRecord.good else { return "\(tested_at): \(outcome): \(detail)" }
            return
                "\(tested_at): up \(readableRate(up_bytes_per_second)), down \(readableRate(down_bytes_per_second)), \(readableLatency(latency_us))"
        }
    }

    func run() throws {
        try common.withEngine { engine, configuration in
            let names = try engine.named(names)
            if probe {
                for name in names {
                    do {
                        try engine.backend(name).store.probe()
                    } catch {
                        throw EngineError(error, subject: "backend \"\(name)\"")
                    }
                }
            }
            let shown = try engine.checkBackends(names).map { report in
                let configured = configuration.backends.first { $0.name == report.backend.name }
                let place = configured?.shown
                let figures = try engine.figures(of: report.backend.name)
                return Shown(
                    name: "\(report.backend.name)", type: place?.type ?? "", place: place?.place ?? "",
                    region: report.backend.region, country: report.backend.country,
                    dr: report.backend.isDisasterRecovery, usable: report.problem == nil,
                    problem: report.problem?.description, hint: report.problem?.hint,
                    abilities: report.backend.store.condition.abilities,
                    tuning: (configured?.tuning ?? [:]).merging([
                        "reads at once": "\(report.backend.fetchThreadCount)",
                        "a read waits at most": "\(report.backend.readPatienceSeconds) s",
                    ]) { $1 }, minimum_billed_days: report.backend.minimumBilledDays,
                    eur_per_terabyte_month: report.backend.price.month(of: Price.terabyteByteCount).euros,
                    backups_bytes_per_second: figures.backupBytesPerSecond,
                    restores_bytes_per_second: figures.restoreBytesPerSecond, last_test: figures.lastTest.map(Test.init)
                )
            }
            if json { return try printJSON(shown) }
            for backend in shown {
                var text = """
                    backend     \(backend.name)
                    type        \(backend.type)
                    place       \(backend.place)
                    region      \(backend.region ?? "-"), \(backend.country ?? "-")
                    recovery    \(backend.dr ? "counts as disaster recovery" : "does not count as disaster recovery")
                    now         \(backend.problem ?? "usable")
                    price       \(backend.eur_per_terabyte_month) EUR/TB·month, \(backend.minimum_billed_days) days at least
                    backups     \(readableRate(backend.backups_bytes_per_second))
                    restores    \(readableRate(backend.restores_bytes_per_second))
                    test        \(backend.last_test?.text ?? "never")

                    """
                for (name, value) in backend.tuning.sorted(by: { $0.key < $1.key }) {
                    text += "tuning      \(name): \(value)\n"
                }
                for (name, value) in backend.abilities.sorted(by: { $0.key < $1.key }) {
                    text += "server      \(name): \(value)\n"
                }
                StandardStream.output.write(text)
            }
        }
    }
}

/// Removes what uploads have left.
struct BackendCollectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Remove what unfinished uploads have left at backends.",
        discussion: """
            Those of this host whose process is gone are removed whatever their age; all others only when they are older than \
            --days, for they may be another host's that is still at work.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "The backends; all without one.") var names: [String] = []
    @Option(help: "The least age of uploads that this host does not know.") var days = 7

    func validate() throws {
        guard (0...3650).contains(days) else { throw ValidationError("--days must be 0 to 3650") }
    }

    func run() throws {
        let failure = try common.withEngine { engine, _ in
            let before = engine.clock.secondsSince1970 - Int64(days) * 86_400
            var first: EngineError?
            for name in try engine.named(names) {
                do throws(EngineError) {
                    let removed = try engine.collectGarbage(at: engine.backend(name), startedBefore: before)
                    StandardStream.output.write(
                        "\(name)  \(removed.journal) of this host, \(removed.others.count) others removed\n")
                } catch {
                    if first != nil { ErrorReport(error)?.print() }
                    first = first ?? error
                }
            }
            return first
        }
        if let failure { throw failure }
    }
}

extension Engine {
    /// The backends of these names, or all of them.
    fileprivate func named(_ names: [String]) throws -> [ResourceName] {
        guard !names.isEmpty else { return backends.keys.sorted() }
        return try names.map { try backend(ResourceName($0)).name }
    }
}

extension Configuration.Backend {
    var shown: (type: String, place: String) {
        let prefix = prefix.map { "/" + $0 }.joined()
        return switch place {
        case .directory(let path): ("directory", path + prefix)
        case .bucket(let bucket): ("s3", "\(bucket.endpoint)/\(bucket.name)\(prefix)")
        }
    }

    /// What the configuration, or its defaults, say of how a bucket is used; a folder has nothing to tune.
    fileprivate var tuning: [String: String] {
        guard case .bucket(let bucket) = place else { return [:] }
        var tuning = [
            "part size": readableSize(UInt64(bucket.uploadPartByteCount)),
            "parts at once": "\(bucket.uploadConcurrency)",
            "connections": "\(bucket.connections)",
            "connect": "\(bucket.connectSeconds) s",
            "stall": "\(bucket.stallSeconds) s",
            "reads are repeated for": "\(bucket.patienceSeconds) s",
            "uploads are repeated for": "\(bucket.uploadPatienceSeconds) s",
        ]
        if let mode = bucket.objectLockMode {
            tuning["object lock"] = mode + (bucket.objectLockDays.map { ", everything for \($0) days" } ?? "")
        }
        return tuning
    }
}
