internal import Foundation
internal import Glibc
internal import SystemIO

/// Where in an image's own file bytes of the disk lie as they are: neither packed, nor encrypted, nor in another file.
///
/// QEMU says so (`qemu-img map`), whose knowledge of the formats is not repeated here. Who reads there saves the way through a server and
/// its socket. It is a shortcut and no promise: what it does not cover, or cannot read, is the server's to answer.
final class PlainExtents {
    /// 24 MiB of memory: half a TiB in pieces of 512 KiB. An image in more pieces is read without.
    private static let limit = 1 << 20
    /// What a line of the map has at most.
    private static let lineLimit = 4096
    private static let program = "qemu-img"
    /// Nobody can end the wait for QEMU's answer, so it is short: without one the server is read.
    private static let patience = Duration.seconds(10)
    private static let timeLimit = Duration.seconds(60)

    /// Formats for which QEMU tells places in the file.
    private static let formats: Set<ImageFormat> = [.qcow2, .vmdk, .vdi]

    /// A piece of the disk.
    private struct Extent {
        let start: UInt64
        let byteCount: UInt64
        /// In the file.
        let place: UInt64
    }

    private let file: OwnedFile
    /// In order, not overlapping.
    private let extents: [Extent]
    /// Where the last search ended; one reads forward.
    private var hint = 0

    private init(_ file: consuming OwnedFile, _ extents: [Extent]) {
        self.file = file
        self.extents = extents
    }

    /// nil where nothing is known; why does not matter.
    ///
    /// - Parameters:
    ///   - file: the open image.
    ///   - path: its path; nobody may write the image while it is read, so QEMU's lock on it is held already.
    static func find(_ file: consuming OwnedFile, _ path: String, format: ImageFormat) -> PlainExtents? {
        guard formats.contains(format), let program = ChildProcess.find(Self.program),
            isWhole(path, format, program), let extents = map(path, format, program), !extents.isEmpty
        else { return nil }
        // What was asked about is what is open.
        guard let facts = try? file.facts(), let named = try? FileFacts.of(path), facts.isSameContent(as: named) else {
            return nil
        }
        return PlainExtents(file, extents)
    }

    /// Whether all places that QEMU gives are of this file.
    private static func isWhole(_ path: String, _ format: ImageFormat, _ program: String) -> Bool {
        var output: [UInt8] = []
        let isDone = ask(program, "info", path, format) { line in
            output.append(contentsOf: line)
            return output.count <= 1 << 20
        }
        guard isDone, let info = try? JSONDecoder().decode(Info.self, from: Data(output)) else { return false }
        let data = info.details?.data
        switch format {
        case .qcow2: return data != nil && data?.dataFile == nil
        case .vmdk: return data?.extents?.count == 1 && data?.extents?.first?.filename == path
        case .vdi: return true
        case .auto, .raw, .vhdx: return false
        }
    }

    private static func map(_ path: String, _ format: ImageFormat, _ program: String) -> [Extent]? {
        var extents: [Extent] = []
        var end: UInt64 = 0
        let isDone = ask(program, "map", path, format) { line in
            // One object a line, within one array.
            let text = line.drop { $0 == UInt8(ascii: "[") }
            guard let last = text.lastIndex(of: UInt8(ascii: "}")) else { return text.first == UInt8(ascii: "]") }
            guard let piece = try? JSONDecoder().decode(Piece.self, from: Data(text[...last])),
                piece.start >= end, piece.start <= UInt64(Int64.max) - piece.length
            else { return false }
            end = piece.start + piece.length
            // Depth 0 is the image itself, not what is behind it.
            guard piece.depth == 0, piece.data, !piece.zero, piece.length > 0, let place = piece.offset else {
                return true
            }
            extents.append(Extent(start: piece.start, byteCount: piece.length, place: place))
            return extents.count <= limit && place <= UInt64(Int64.max) - piece.length
        }
        return isDone ? extents : nil
    }

    /// Gives each line that it prints to `take`, which says whether to go on. Whether it has told all, and all went well.
    private static func ask(
        _ program: String, _ command: String, _ path: String, _ format: ImageFormat, _ take: (ArraySlice<UInt8>) -> Bool
    ) -> Bool {
        let child = ChildProcess(
            path: "/usr/bin/setpriv",
            arguments: ["--no-new-privs", "--", program, command, "--output=json", "-f", format.rawValue, path],
            folder: "/", patience: patience, limit: timeLimit)
        var rest: [UInt8] = []
        let ending = try? child.run(
            output: { bytes in
                rest.append(contentsOf: bytes)
                var start = 0
                while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                    guard take(rest[start..<end]) else { return false }
                    start = end + 1
                }
                rest.removeFirst(start)
                return rest.count <= lineLimit
            }, progress: { _ in 0 })
        return ending == .exited(code: 0) && rest.isEmpty
    }

    /// Of `qemu-img map --output=json`.
    private struct Piece: Decodable {
        let start: UInt64
        let length: UInt64
        let depth: Int
        let zero: Bool
        let data: Bool
        let offset: UInt64?
    }

    /// Of `qemu-img info --output=json`.
    private struct Info: Decodable {
        struct Details: Decodable { let data: Facts }
        struct Facts: Decodable {
            struct Part: Decodable { let filename: String? }
            let dataFile: String?
            let extents: [Part]?

            enum CodingKeys: String, CodingKey {
                case dataFile = "data-file"
                case extents
            }
        }
        let details: Details?

        enum CodingKeys: String, CodingKey { case details = "format-specific" }
    }

    /// How much of the disk it covers.
    var byteCount: UInt64 { extents.reduce(0) { $0 + $1.byteCount } }

    // MARK: Reading

    /// How many bytes from `offset` on lie together in the file, and where; nil if this one does not.
    func run(at offset: UInt64) -> (place: UInt64, byteCount: UInt64)? {
        if hint >= extents.count || extents[hint].start > offset { hint = 0 }
        if extents[hint].start + extents[hint].byteCount <= offset {
            // The first that ends behind `offset`.
            var (low, high) = (hint + 1, extents.count)
            while low < high {
                let middle = (low + high) / 2
                let end = extents[middle].start + extents[middle].byteCount
                (low, high) = end <= offset ? (middle + 1, high) : (low, middle)
            }
            guard low < extents.count else { return nil }
            hint = low
        }
        let extent = extents[hint]
        guard extent.start <= offset else { return nil }
        return (extent.place + (offset - extent.start), extent.byteCount - (offset - extent.start))
    }

    /// Fills `part` from the file; false if that is not possible.
    func read(at place: UInt64, into part: UnsafeMutableRawBufferPointer) -> Bool {
        (try? file.read(at: place, into: part)) == part.count
    }
}
