import BackupEngine
import Catalog
import Foundation
import Testing

@testable import Filesystem

@Suite("status.json and metrics.prom", .timeLimit(.minutes(1)))
struct StatusReportTests {
    private func resources(_ bench: TreeBench) throws -> [[String: Any]] {
        let json = try JSONSerialization.jsonObject(with: Data(bench.read("status.json"))) as? [String: Any]
        return try #require(json?["resources"] as? [[String: Any]])
    }

    @Test func `both are files of the root, as long as stat says, and cannot be written`() throws {
        let bench = try TreeBench()
        let names = try bench.filesystem.list(TreeBench.root).map(\.name)
        #expect(names.contains("status.json") && names.contains("metrics.prom"))
        for name in ["status.json", "metrics.prom"] {
            let number = try bench.number(name)
            #expect(try bench.filesystem.attributes(number).byteCount > 0)
            #expect(
                bench.code { _ = try bench.filesystem.open(number, OpenIntent(forWriting: true, truncates: false)) }
                    == .readOnly)
        }
    }

    @Test func `a new backup, a check and a drill show at once`() throws {
        let bench = try TreeBench()
        #expect(try resources(bench).isEmpty)
        bench.filesystem.release(try bench.openBackup(of: [UInt8](repeating: 3, count: 300_000)))
        let fresh = try #require(try resources(bench).first)
        #expect(fresh["rto_source"] as? String == "unknown" && fresh["last_drill"] == nil)
        #expect(fresh["overdue"] as? [String] == ["verify", "drill"])
        #expect(fresh["rpo_seconds"] as? Int == 0 || fresh["rpo_seconds"] as? Int == 1)
        let identifier = try #require(try bench.engine.catalog.allBackups().first?.identifier)
        let report = try bench.engine.drill(identifier, to: .null)
        let drilled = try #require(try resources(bench).first)
        #expect(drilled["rto_source"] as? String == "measured")
        #expect(drilled["rto_seconds"] as? Double == Double(report.record.totalMilliseconds) / 1000)
        #expect(drilled["overdue"] as? [String] == [] && drilled["failures"] as? [String] == [])
        #expect((drilled["last_drill"] as? [String: Any])?["result"] as? String == "good")
        try bench.engine.catalog.noteCheck(
            identifier, .raw, at: bench.engine.clock.secondsSince1970, outcome: "damaged", detail: "frame 1")
        let bad = try #require(try resources(bench).first)
        #expect(bad["rpo_seconds"] == nil && bad["bad_backups"] as? [String] == ["\(identifier)"])
        #expect((bad["failures"] as? [String])?.count == 1)
    }

    @Test func `the metrics of a mount have the disks, the backends and staging`() throws {
        let bench = try TreeBench()
        bench.filesystem.release(try bench.openBackup(of: [UInt8](repeating: 3, count: 300_000)))
        let text = String(decoding: try bench.read("metrics.prom"), as: UTF8.self)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.contains("holdfast_disk_backups{org=\"acme\",vm=\"web\",disk=\"disk\",backend=\"memory\"} 1"))
        #expect(lines.contains("holdfast_backend_up{backend=\"other\"} 1"))
        #expect(lines.contains("holdfast_staged_images{state=\"streaming\"} 0"))
        // Each family once, each sample behind its own TYPE line: the format itself is tested where it is written.
        let types = lines.filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
        #expect(Set(types).count == types.count && !types.isEmpty)
        var family = Substring()
        for line in lines {
            if line.hasPrefix("# TYPE ") { family = line.split(separator: " ")[2] }
            if !line.hasPrefix("#") { #expect(line.prefix { $0 != "{" && $0 != " " } == family, "\(line)") }
        }
    }
}
