internal import SystemIO
internal import Workers

/// Writes a trace while a mount is read. Nobody who reads waits for the file: one thread of its own writes.
///
/// | state | a touch | the file |
/// |---|---|---|
/// | recording | is written soon, unless it was before | `NAME.partial` |
/// | failed (the disk is full, hangs or is gone) | is dropped | `NAME.partial`, as far as it came |
/// | closed | is dropped | `NAME`, when all was written and something was read |
///
/// So a trace that has its name is complete, and a mount that nobody used does not replace the one of before.
package final class TraceRecorder: Sendable {
    private struct State {
        var touched: [String: TouchedFrames] = [:]
        var waiting: [ReadTrace.Part] = []
        var isEnding = false
        var hasEnded = false
        var failure: ReadTraceError?
    }

    /// What may wait to be written; a file that hangs must not take the memory.
    private static let waitingLimit = 100_000
    /// What a file that hangs may hold up the end of the mount.
    private static let closingMilliseconds = 2000

    private let state = Monitor(State())

    /// Begins a trace in `path + ".partial"`, which is its owner's alone.
    package init(path: String) throws(ReadTraceError) {
        let partial = path + ".partial"
        let holder: FileHolder
        do {
            holder = FileHolder(try OwnedFile(opening: partial, for: .write, options: [.create, .truncate]))
            // One that was there may have been readable by others. A device's mode is not ours to change.
            if try holder.file.facts().kind == .regular { try holder.file.setPermissions(0o600) }
            try holder.file.write(ReadTrace.firstLine + "\n")
        } catch {
            throw ReadTraceError("\(partial): \(error)", hint: "`-o record=FILE` wants a file that can be written")
        }
        let state = state
        NativeThread(name: "trace") { Self.write(state, to: holder, path) }.detach()
    }

    /// The thread of the file: until the recorder is closed, or the file refuses.
    private static func write(_ state: Monitor<State>, to holder: FileHolder, _ path: String) {
        var isEmpty = true
        do {
            while true {
                let (parts, isEnding) = state.wait { state -> ([ReadTrace.Part], Bool)? in
                    guard !state.waiting.isEmpty || state.isEnding else { return nil }
                    defer { state.waiting = [] }
                    return (state.waiting, state.isEnding)
                }
                if !parts.isEmpty {
                    try holder.file.write(parts.map { $0.line }.joined())
                    isEmpty = false
                }
                if isEnding { break }
            }
            if isEmpty {
                try FileTree.remove(path + ".partial")
            } else if state.withLockQuietly({ $0.failure == nil }) {
                try holder.file.synchronize()
                try FileTree.rename(path + ".partial", to: path)
            }
        } catch {
            let failure = ReadTraceError("\(path).partial: \(error)")
            state.withLock { $0.failure = $0.failure ?? failure }
        }
        state.withLock { $0.hasEnded = true }
    }

    /// Notes that frames of an image are read; frames that were noted before are left out.
    /// - Parameter frames: index and raw bytes of each, in order; neighbours become one part
    package func note(_ image: String, _ frames: some Sequence<(index: Int, range: Range<UInt64>)>) {
        state.withLock { state in
            guard state.failure == nil, !state.isEnding else { return }
            var end: UInt64?
            for (index, range) in frames where state.touched[image, default: TouchedFrames()].insert(index) {
                // A part joins the one before it in this read, not what another reader touched.
                if end == range.lowerBound, let last = state.waiting.popLast() {
                    state.waiting.append(
                        ReadTrace.Part(image: image, range: last.range.lowerBound..<range.upperBound))
                } else {
                    state.waiting.append(ReadTrace.Part(image: image, range: range))
                }
                end = range.upperBound
            }
            if state.waiting.count > Self.waitingLimit {
                state.waiting = []
                state.failure = ReadTraceError("the trace cannot be written as fast as it grows")
            }
        }
    }

    /// Gives the trace its name. Throws when it is not complete.
    package func close() throws(ReadTraceError) {
        state.withLock { $0.isEnding = true }
        let end: Void? = state.wait(milliseconds: Self.closingMilliseconds) { $0.hasEnded ? () : nil }
        if let failure = state.withLockQuietly({ $0.failure }) { throw failure }
        guard end != nil else { throw ReadTraceError("the trace's file does not take what is written") }
    }
}

/// A bit for each frame.
private struct TouchedFrames {
    private var words: [UInt64] = []

    /// False when it was there already.
    mutating func insert(_ index: Int) -> Bool {
        let (word, bit) = (index / 64, UInt64(1) << (index % 64))
        if word >= words.count { words += Array(repeating: 0, count: max(word + 1, words.count * 2) - words.count) }
        defer { words[word] |= bit }
        return words[word] & bit == 0
    }
}

/// Carries the file to the thread that owns it.
private final class FileHolder: Sendable {
    let file: OwnedFile
    init(_ file: consuming OwnedFile) { self.file = file }
}

extension OwnedFile {
    fileprivate func write(_ text: String) throws(Errno) {
        let bytes = Array(text.utf8)
        let result: Result<Void, Errno> = bytes.withUnsafeBytes { bytes in
            Result { () throws(Errno) in try write(bytes) }
        }
        try result.get()
    }
}
