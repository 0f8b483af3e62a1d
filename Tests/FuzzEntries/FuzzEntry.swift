/// A parser of ours as libFuzzer and the replay of its finds call it: takes any bytes, and traps where a promise is broken.
package struct FuzzEntry: Sendable, CustomStringConvertible {
    /// The folder in Tests/Fuzz that holds its corpus and cases.
    package let name: String
    package let run: @Sendable (UnsafeRawBufferPointer) -> Void

    package static let all = [
        FuzzEntry(name: "age-header", run: fuzzAgeHeader),
        FuzzEntry(name: "age-payload", run: fuzzAgePayload),
        FuzzEntry(name: "seek-table", run: fuzzSeekTable),
        FuzzEntry(name: "manifest", run: fuzzManifest),
        FuzzEntry(name: "partition-table", run: fuzzPartitionTable),
        FuzzEntry(name: "configuration", run: fuzzConfiguration),
        FuzzEntry(name: "s3-answer", run: fuzzS3Answer),
    ]

    package var description: String { name }
}

/// A promise that the parser has to keep for every input. Says which one is broken, which a precondition of a release would not.
@inline(__always)
func demand(_ condition: Bool, _ promise: @autoclosure () -> String) {
    if !condition { fatalError("broken promise: \(promise())") }
}
