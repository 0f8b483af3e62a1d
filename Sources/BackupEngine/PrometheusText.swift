/// Prometheus' text exposition format, version 0.0.4 ("Exposition formats" in Prometheus' documentation).
///
/// All samples of a family come together, behind one HELP and one TYPE line; a family is written once, and no sample twice.
package struct PrometheusText {
    package enum Kind: String { case gauge, counter }

    package typealias Labels = [(name: String, value: String)]

    package struct Sample {
        let labels: Labels
        let value: Double

        package init(_ labels: Labels, _ value: Double) {
            self.labels = labels
            self.value = value
        }

        package init(_ labels: Labels, _ value: some BinaryInteger) { self.init(labels, Double(value)) }
    }

    private var text = ""
    private var names: Set<String> = []

    package init() {}

    package var bytes: [UInt8] { Array(text.utf8) }

    /// Adds a family; nothing for one without a sample. `name` and the labels' names are ours: letters and underscores.
    package mutating func add(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        precondition(names.insert(name).inserted, "internal error: two families of metrics called \(name)")
        text += "# HELP \(name) \(Self.escape(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
        var seen: Set<String> = []
        for sample in samples {
            let labels = sample.labels.map { "\($0.name)=\"\(Self.escape($0.value, quotes: true))\"" }
            let series = labels.isEmpty ? name : "\(name){\(labels.joined(separator: ","))}"
            precondition(seen.insert(series).inserted, "internal error: two samples of \(series)")
            text += "\(series) \(Self.number(sample.value))\n"
        }
    }

    /// A backslash and a line feed are escaped everywhere, a quotation mark in the value of a label.
    private static func escape(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// Whole numbers without a fraction, as long as a Double has them exactly.
    private static func number(_ value: Double) -> String {
        guard value.isFinite else { return value.isNaN ? "NaN" : value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 0x1p53 ? "\(Int64(value))" : "\(value)"
    }
}
