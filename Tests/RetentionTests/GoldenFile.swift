import Foundation
import Retention

/// A file of Tests/Vectors/retention: a policy, a zone, a moment, backups, and below `---` what follows from them by the rules.
/// README.md there has the format.
struct GoldenFile: Sendable, CustomStringConvertible {
    private enum Problem: Error { case line(String) }

    let name: String
    private let input: [[String]]
    /// The lines below `---`.
    let expected: [String]

    var description: String { name }

    /// A new file there is a new case.
    static let all: [GoldenFile] = {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Vectors/retention")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".txt") }.sorted().map { name in
            guard let text = try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8) else {
                preconditionFailure("the golden file \(name) cannot be read")
            }
            return GoldenFile(name, text)
        }
    }()

    private init(_ name: String, _ text: String) {
        self.name = name
        let lines = text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
        let parts = lines.split(separator: "---", maxSplits: 1, omittingEmptySubsequences: false)
        input = parts[0].map { $0.split(separator: " ").map(String.init) }
        expected = parts.count > 1 ? Array(parts[1]) : []
    }

    /// What the code makes of it, in the words of the file.
    func answer() throws -> [String] {
        var policy = RetentionPolicy.off
        var zone = TimeZone.gmt
        var windowText = ("00:00-24:00", nil as String?)
        var now: Int64 = 0
        var history = RunHistory()
        var asksRun = false
        var points: [RetentionPoint<Int>] = []
        func time(_ text: String) throws -> Int64 {
            guard let date = ISO8601DateFormatter().date(from: Self.withSeconds(text)) else {
                throw Problem.line(text)
            }
            return Int64(date.timeIntervalSince1970)
        }
        for words in input {
            switch words[0] {
            case "policy": policy = try Self.policy(words.dropFirst())
            case "zone":
                guard let found = TimeZone(identifier: words[1]) else { throw Problem.line(words[1]) }
                zone = found
            case "window": windowText = (words[1], words.count > 2 ? words[2] : nil)
            case "now": now = try time(words[1])
            case "good": history.lastGoodAt = try time(words[1])
            case "failed": (history.lastFailedAt, history.failureCount) = (try time(words[1]), Int(words[2]) ?? 0)
            case "run": asksRun = true
            case "backup":
                points.append(
                    RetentionPoint(
                        id: points.count, time: try time(words[1]),
                        state: words.contains("bad") ? .failed : words.contains("unchecked") ? .unverified : .good,
                        isHeld: words.contains("held"),
                        lockedUntil: try words.firstIndex(of: "locked").map {
                            words[$0 + 1] == "forever" ? .max : try time(words[$0 + 1])
                        }))
            case "daily":
                for moment in stride(from: try time(words[1]), through: try time(words[3]), by: 86_400) {
                    points.append(RetentionPoint(id: points.count, time: moment))
                }
            default: throw Problem.line(words.joined(separator: " "))
            }
        }
        var lines: [String] = []
        if asksRun {
            let window = try BackupWindow(
                windowText.0, weekdays: windowText.1, timeZone: zone == .gmt ? "UTC" : zone.identifier)
            let decision = RunDecision.decide(policy: policy, window: window, history: history, seed: 7, now: now)
            lines.append("run " + Self.text(decision, zone))
        }
        return lines + Self.text(RetentionPlan(points, policy: policy, timeZone: zone, now: now), zone)
    }

    private static func policy(_ words: some Sequence<String>) throws -> RetentionPolicy {
        let words = Array(words)
        if words.count == 1, let preset = RetentionPolicy(preset: words[0]) { return preset }
        var counts: [String: Int] = [:]
        for index in stride(from: 0, to: words.count - 1, by: 2) { counts[words[index]] = Int(words[index + 1]) }
        guard !counts.isEmpty else { throw Problem.line(words.joined(separator: " ")) }
        return RetentionPolicy(
            daily: counts["daily"] ?? 0, weekly: counts["weekly"] ?? 0, monthly: counts["monthly"] ?? 0,
            yearly: counts["yearly"] ?? 0)
    }

    /// `2026-11-20T02:00Z` has no seconds.
    private static func withSeconds(_ text: String) -> String {
        let index = text.index(text.startIndex, offsetBy: min(16, text.count))
        return text[..<index] + ":00" + text[index...]
    }

    // MARK: In the words of the file

    private static func text(_ decision: RunDecision, _ zone: TimeZone) -> String {
        switch decision {
        case .off: "off"
        case .due(let catchesUp): catchesUp ? "due, catches up" : "due"
        case .waits(let until, let reason): "waits until \(text(until, zone)): \(reason)"
        }
    }

    private static func text(_ plan: RetentionPlan<Int>, _ zone: TimeZone) -> [String] {
        var lines: [String] = []
        var gone: [(time: Int64, reason: String)] = []
        func tellGone() {
            if let first = gone.first, let last = gone.last {
                let range = gone.count == 1 ? "" : " .. \(text(last.time, zone)) (\(gone.count))"
                lines.append("goes \(text(first.time, zone))\(range): \(first.reason)")
            }
            gone = []
        }
        for entry in plan.entries {
            switch entry.verdict {
            case .remove(let reason):
                let word = reason == .failed ? "bad" : "surplus"
                if gone.last?.reason != word { tellGone() }
                gone.append((entry.point.time, word))
            case .keep(let reasons):
                tellGone()
                let words = reasons.map { text($0, zone) }.joined(separator: ", ")
                lines.append("kept \(text(entry.point.time, zone)): \(words)")
            }
        }
        tellGone()
        return lines
    }

    private static func text(_ reason: KeepReason, _ zone: TimeZone) -> String {
        switch reason {
        case .slot(let retentionClass, let period, let rank, let count):
            "\(retentionClass.rawValue) \(period) \(rank)/\(count)"
        case .newestGood: "newest"
        case .held: "held"
        case .locked(let end): end == .max ? "locked" : "locked until \(text(end, zone))"
        case .notChecked: "not checked"
        case .nothingNewerIsGood: "nothing newer is good"
        case .future: "future"
        case .policyIsOff: "off"
        }
    }

    private static func text(_ time: Int64, _ zone: TimeZone) -> String {
        let offset = Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(time))))
        let local = ISO8601DateFormatter()
        let shown = local.string(from: Date(timeIntervalSince1970: TimeInterval(time + offset))).prefix(16)
        if offset == 0 { return shown + "Z" }
        let minutes = abs(offset) / 60
        return shown + (offset < 0 ? "-" : "+") + String(format: "%02d:%02d", minutes / 60, minutes % 60)
    }
}
