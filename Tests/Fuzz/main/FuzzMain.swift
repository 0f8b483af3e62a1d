import FuzzEntries
import Glibc

/// libFuzzer as a library (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library"): its own `main` would clash with the one
/// that the package manager gives every executable, and one program for all targets is linked once.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argumentCount: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ target: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

@main
enum FuzzMain {
    /// Set once, before libFuzzer runs. Safe because: libFuzzer calls the target on the main thread only.
    nonisolated(unsafe) static var entry: FuzzEntry = FuzzEntry.all[0]

    /// The target is named in the environment, so that the processes that libFuzzer starts of itself (`-merge`, `-fork`) have it too.
    static func main() {
        let name = getenv("HOLDFAST_FUZZ_TARGET").map { String(cString: $0) } ?? ""
        guard let entry = FuzzEntry.all.first(where: { $0.name == name }) else {
            let names = FuzzEntry.all.map(\.name).joined(separator: " ")
            let text = "error: HOLDFAST_FUZZ_TARGET names no target\nhint: there are: \(names)\n"
            _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
            exit(2)
        }
        Self.entry = entry
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        exit(
            runDriver(&count, &arguments) { bytes, count in
                FuzzMain.entry.run(UnsafeRawBufferPointer(start: bytes, count: count))
                return 0
            })
    }
}
