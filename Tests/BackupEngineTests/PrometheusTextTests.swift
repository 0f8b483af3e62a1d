import BackupEngine
internal import Catalog
import Foundation
import Testing

/// A strict reader of the text format, made from its description; it shares nothing with the writer.
struct PrometheusReader {
    struct Family: Equatable {
        var help: String?
        var type: String?
        var samples: [String: Double] = [:]
    }

    enum Failure: Error { case line(Int, String) }

    var families: [String: Family] = [:]

    init(_ bytes: [UInt8]) throws {
        let text = try #require(String(validating: bytes, as: UTF8.self))
        guard text.isEmpty || text.hasSuffix("\n") else { throw Failure.line(0, "no line feed at the end") }
        var current = ""
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().enumerated() {
            func fail(_ why: String) -> Failure { .line(index + 1, "\(why): \(line)") }
            if line.hasPrefix("# HELP ") || line.hasPrefix("# TYPE ") {
                let parts = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
                guard parts.count == 4, Self.isName(parts[2], colon: true) else { throw fail("malformed") }
                if parts[1] == "HELP" {
                    guard families[parts[2]] == nil else { throw fail("a second HELP") }
                    guard Self.isEscaped(parts[3], allowsQuote: true) else { throw fail("a bad escape") }
                    families[parts[2]] = Family(help: parts[3])
                } else {
                    guard families[parts[2]]?.type == nil, families[parts[2]]?.samples.isEmpty == true,
                        ["gauge", "counter"].contains(parts[3])
                    else { throw fail("TYPE not behind its HELP, or twice") }
                    families[parts[2]]?.type = parts[3]
                }
                current = parts[2]
                continue
            }
            let (name, labels, value) = try Self.sample(line, fail)
            guard name == current, let family = families[name], let type = family.type else { throw fail("no family") }
            guard type != "counter" || name.hasSuffix("_total") else { throw fail("a counter without _total") }
            guard family.samples[labels] == nil else { throw fail("the same sample twice") }
            families[name]?.samples[labels] = value
        }
        for (name, family) in families where family.samples.isEmpty || family.type == nil {
            throw Failure.line(0, "\(name) has no sample")
        }
    }

    private static func sample(
        _ line: Substring, _ fail: (String) -> Failure
    ) throws -> (name: String, labels: String, value: Double) {
        let name = line.prefix { $0 != "{" && $0 != " " }
        guard isName(name, colon: true) else { throw fail("no name") }
        var rest = line[name.endIndex...]
        var labels: [String] = []
        if rest.first == "{" {
            rest = rest.dropFirst()
            while rest.first != "}" {
                let label = rest.prefix { $0 != "=" }
                guard isName(label, colon: false), !labels.contains(where: { $0.hasPrefix("\(label)=") }) else {
                    throw fail("a label's name")
                }
                rest = rest[label.endIndex...].dropFirst()
                guard rest.first == "\"" else { throw fail("no quotation mark") }
                rest = rest.dropFirst()
                var value = ""
                while let scalar = rest.unicodeScalars.first, scalar != "\"" {
                    rest = Substring(rest.unicodeScalars.dropFirst())
                    if scalar == "\\" {
                        guard let next = rest.unicodeScalars.first, ["\\", "\"", "n"].contains(next) else {
                            throw fail("a bad escape")
                        }
                        rest = Substring(rest.unicodeScalars.dropFirst())
                        value.unicodeScalars.append(next == "n" ? "\n" : next)
                    } else {
                        value.unicodeScalars.append(scalar)
                    }
                }
                guard rest.first == "\"" else { throw fail("an open value") }
                rest = rest.dropFirst()
                labels.append("\(label)=\(value)")
                if rest.first == "," { rest = rest.dropFirst() } else if rest.first != "}" { throw fail("no comma") }
            }
            rest = rest.dropFirst()
        }
        guard rest.first == " ", let value = Double(rest.dropFirst()) else { throw fail("no value") }
        return (String(name), labels.joined(separator: "|"), value)
    }

    private static func isName(_ text: some StringProtocol, colon: Bool) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f
                || colon && byte == 0x3a
        }
    }

    private static func isEscaped(_ text: String, allowsQuote: Bool) -> Bool {
        var rest = Substring(text)
        while let backslash = rest.firstIndex(of: "\\") {
            let next = rest.index(after: backslash)
            guard next < rest.endIndex, rest[next] == "\\" || rest[next] == "n" else { return false }
            rest = rest[rest.index(after: next)...]
        }
        return true
    }
}

@Suite("Prometheus' text format")
struct PrometheusTextTests {
    private typealias Sample = PrometheusText.Sample

    @Test func `a family is a HELP line, a TYPE line and its samples`() throws {
        var text = PrometheusText()
        text.add("a_seconds", .gauge, "How long.", [Sample([], 1.5)])
        text.add(
            "b_total", .counter, "How many.", [Sample([("x", "1")], 3), Sample([("x", "2"), ("y", "")], 1 << 40)])
        text.add("none", .gauge, "Nothing.", [])
        #expect(
            String(decoding: text.bytes, as: UTF8.self) == """
                # HELP a_seconds How long.
                # TYPE a_seconds gauge
                a_seconds 1.5
                # HELP b_total How many.
                # TYPE b_total counter
                b_total{x="1"} 3
                b_total{x="2",y=""} 1099511627776

                """)
    }

    @Test(arguments: ["plain", "a\"b", "a\\b", "a\nb", "\\n", "\"", "é\u{301}\"", "a\\\"\n", "{x=\"1\"} 7", "a,b}"])
    func `whatever a label's value is, it is read back as it was`(value: String) throws {
        var text = PrometheusText()
        text.add("a", .gauge, "With \(value) in it.", [Sample([("x", value), ("y", "z")], 1)])
        let read = try PrometheusReader(text.bytes)
        #expect(read.families["a"]?.samples == ["x=\(value)|y=z": 1])
    }

    @Test func `numbers are read back as they were`() throws {
        for value in [0, -1, 0.1, 1e300, -2.5e-9, Double(1 << 52), 1e18, .infinity, -.infinity, 1_795_000_000] {
            var text = PrometheusText()
            text.add("a", .gauge, "A.", [Sample([], value)])
            #expect(try PrometheusReader(text.bytes).families["a"]?.samples[""] == value, "\(value)")
        }
        var text = PrometheusText()
        text.add("a", .gauge, "A.", [Sample([], Double.nan)])
        #expect(String(decoding: text.bytes, as: UTF8.self).hasSuffix("a NaN\n"))
    }

    @Test(.timeLimit(.minutes(1)))
    func `the metrics of an engine are well-formed and say what its status says`() throws {
        let bench = try EngineBench()
        // A name may have quotation marks and backslashes.
        let odd = try bench.disk("acme", "we\"b\\", "disk")
        let identifier = try bench.backUp(testImage(100_000, seed: 1), as: odd)
        try bench.backUp(testImage(100_000, seed: 2))
        let report = try bench.engine.drill(identifier, to: .null)
        bench.clock.advance(30 * 3600)
        var text = PrometheusText()
        text.add(try bench.engine.resources(), bench.engine, now: bench.clock.secondsSince1970)
        let families = try PrometheusReader(text.bytes).families
        let (drilled, plain) = ("org=acme|vm=we\"b\\|disk=disk", "org=acme|vm=web|disk=disk")
        #expect(families["holdfast_disk_rpo_seconds"]?.samples[plain] == 108_000)
        #expect(
            families["holdfast_disk_rto_seconds"]?.samples[drilled + "|source=measured"]
                == Double(report.record.totalMilliseconds) / 1000)
        #expect(families["holdfast_disk_rto_seconds"]?.samples[plain + "|source=estimated"] != nil)
        let overdue = try #require(families["holdfast_disk_overdue"]?.samples)
        #expect(overdue[drilled + "|what=rpo"] == 1 && overdue[drilled + "|what=drill"] == 0)
        #expect(overdue[plain + "|what=drill"] == 1 && overdue.count == 6)
        #expect(families["holdfast_disk_last_drill_good"]?.samples == [drilled: 1])
        #expect(families["holdfast_disk_backups"]?.samples[plain + "|backend=memory"] == 1)
    }
}
