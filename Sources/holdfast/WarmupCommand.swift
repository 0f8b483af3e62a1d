internal import ArgumentParser
internal import Foundation
internal import ReadTrace

struct WarmupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warmup", abstract: "Read ahead what an earlier session read, so that it is cached.",
        discussion: """
            A guest touches the same parts of its disk each time it boots. `holdfast mount -o record=TRACE` writes down what is \
            read until the unmount; warmup reads it again, many parts at once, into the memory and the disk cache of the mount.
            """)

    @Argument(help: "What `mount -o record=TRACE` wrote.") var trace: String
    @Argument(help: "The mountpoint; or a disk.raw, which is read instead of the one image of the trace.") var target:
        String
    @Option(help: "Parts that are read at once.") var jobs = WarmUp.standardThreadCount

    func validate() throws {
        guard (1...256).contains(jobs) else { throw ValidationError("--jobs wants 1 to 256") }
    }

    func run() throws {
        let trace = try ReadTrace(path: trace)
        let target = target
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: target, isDirectory: &isFolder) else {
            throw WarmupError(detail: "\(target): there is no such folder or file", hint: nil)
        }
        if !isFolder.boolValue, trace.images.count > 1 {
            throw WarmupError(
                detail: "the trace is of \(trace.images.count) images, and \(target) is one",
                hint: "take the lines of one: (head -n 1 TRACE; grep ' \(trace.images[0])$' TRACE) > ONE")
        }
        let isImage = !isFolder.boolValue
        let line = ProgressLine()
        defer { line.end() }
        let start = ContinuousClock.now
        let result = try WarmUp(trace) { isImage ? target : target + "/" + $0 }.run(threadCount: jobs) {
            line.show("warmup", $0, $1)
        }
        line.end()
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        var text = "warmed      \(readableSize(result.byteCount)) in \(result.partCount) parts"
        text += String(format: ", %.1f s\n", seconds)
        if result.absentCount > 0 { text += "left out    \(result.absentCount) parts behind the end of the image\n" }
        StandardStream.output.write(text)
    }
}

struct WarmupError: Error {
    let detail: String
    let hint: String?
}
