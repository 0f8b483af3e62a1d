internal import Glibc
internal import SystemIO

/// What a session has read of which images, in the order of the first touch.
///
/// The file is text, so that it can be looked at, cut and joined: the line `holdfast trace 1`, then a line
/// `OFFSET LENGTH IMAGE` for each part, where IMAGE is the path of the image's `disk.raw` below the mountpoint and the numbers
/// are raw bytes. Lines that begin with `#` say nothing.
package struct ReadTrace: Sendable, Hashable {
    package struct Part: Sendable, Hashable {
        /// `backend/org/vm/date/disk.raw`
        package let image: String
        package let range: Range<UInt64>

        package init(image: String, range: Range<UInt64>) {
            self.image = image
            self.range = range
        }

        var line: String { "\(range.lowerBound) \(range.count) \(image)\n" }

        fileprivate init?(_ line: Substring) {
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 3, let offset = UInt64(words[0]), let count = UInt64(words[1]), count > 0,
                count <= ReadTrace.maximumPartByteCount, offset <= UInt64.max >> 1
            else { return nil }
            let image = String(words[2])
            // Nothing that leads out of the mount.
            let components = image.split(separator: "/", omittingEmptySubsequences: false)
            guard !components.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }) else { return nil }
            self.init(image: image, range: offset..<offset + count)
        }
    }

    static let firstLine = "holdfast trace 1"
    /// A part is at most as long as a frame may be.
    static let maximumPartByteCount: UInt64 = 1 << 31
    /// 64 MiB: the trace of a disk of 1 TiB, read from end to end.
    private static let maximumFileByteCount = 64 << 20

    package var parts: [Part]

    package init(parts: [Part] = []) { self.parts = parts }

    /// The images of the trace, each once, in the order of the first touch.
    package var images: [String] {
        var seen: Set<String> = []
        return parts.compactMap { seen.insert($0.image).inserted ? $0.image : nil }
    }

    /// Reads a trace from a file of at most 64 MiB.
    package init(path: String) throws(ReadTraceError) {
        let bytes: [UInt8]
        do {
            bytes = try readWholeFile(path, maximumByteCount: Self.maximumFileByteCount)
        } catch {
            throw ReadTraceError("\(path): \(error)")
        }
        do throws(ReadTraceError) {
            try self.init(parsing: String(decoding: bytes, as: UTF8.self))
        } catch {
            throw ReadTraceError("\(path): \(error)")
        }
    }

    /// An unfinished last line, as a killed mount leaves it, does not count.
    package init(parsing text: String) throws(ReadTraceError) {
        parts = []
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        guard lines.popFirst().map(String.init) == Self.firstLine else {
            throw ReadTraceError("is no trace of version 1: its first line is not \"\(Self.firstLine)\"")
        }
        _ = lines.popLast()
        for (index, line) in lines.enumerated() where !line.isEmpty && !line.hasPrefix("#") {
            guard let part = Part(line) else { throw ReadTraceError("line \(index + 2) is not OFFSET LENGTH IMAGE") }
            parts.append(part)
        }
    }
}

/// A trace that cannot be written, read or replayed.
package struct ReadTraceError: Error, Hashable, CustomStringConvertible {
    package let description: String
    package let hint: String?

    init(_ description: String, hint: String? = nil) {
        self.description = description
        self.hint = hint
    }
}
