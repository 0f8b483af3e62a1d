import Foundation

@testable import SeekableZstd

/// SplitMix64: the same numbers for the same seed on every machine.
struct Generator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}

/// Words from a small dictionary: compressible, and different everywhere.
func text(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var generator = Generator(seed: seed)
    let words = (0..<200).map { _ in
        (0..<Int.random(in: 2...9, using: &generator)).map { _ in UInt8.random(in: 97...122, using: &generator) }
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 10)
    while bytes.count < count {
        bytes += words[Int.random(in: 0..<200, using: &generator)]
        bytes.append(32)
    }
    return Array(bytes.prefix(count))
}

func compress(_ raw: [UInt8], level: Int32 = 3) throws -> (frame: [UInt8], entry: SeekTable.Entry) {
    var compressor = FrameCompressor(level: level, maximumRawByteCount: raw.count)
    var destination = [UInt8](repeating: 0, count: FrameCompressor.destinationByteCount(forRawByteCount: raw.count))
    let entry = try raw.withUnsafeBytes { raw in
        try destination.withUnsafeMutableBytes { try compressor.compress(raw, into: $0) }
    }
    return (Array(destination[..<Int(entry.compressedByteCount)]), entry)
}

func decompress(_ frame: [UInt8], _ entry: SeekTable.Entry) throws(SeekableZstdError) -> [UInt8] {
    // Memory behind the frame's own must stay as it is, whatever the frame says.
    let guardByteCount = 4096
    let count = Int(entry.rawByteCount)
    var raw = [UInt8](repeating: 0xee, count: count + guardByteCount)
    var failure: SeekableZstdError?
    frame.withUnsafeBytes { frame in
        raw.withUnsafeMutableBytes { raw in
            var decompressor = FrameDecompressor()
            do throws(SeekableZstdError) {
                try decompressor.decompress(
                    frame, as: entry, into: UnsafeMutableRawBufferPointer(rebasing: raw[..<count]))
            } catch {
                failure = error
            }
        }
    }
    precondition(raw[count...].allSatisfy { $0 == 0xee }, "the decompressor wrote behind its memory")
    if let failure { throw failure }
    return Array(raw[..<count])
}

func parse(_ bytes: [UInt8], streamByteCount: UInt64) throws(SeekableZstdError) -> SeekTable {
    var result: Result<SeekTable, SeekableZstdError>?
    bytes.withUnsafeBytes { bytes in
        result = Result { () throws(SeekableZstdError) in
            let footer = UnsafeRawBufferPointer(rebasing: bytes.suffix(SeekTable.footerByteCount))
            _ = try SeekTable.byteCount(parsingFooter: footer, streamByteCount: streamByteCount)
            return try SeekTable(
                parsing: bytes, streamByteCount: streamByteCount, maximumDataFrameRawByteCount: 64 << 20)
        }
    }
    return try result!.get()
}

/// A table of runs of zero frames and data frames, each run up to `runLimit` frames long.
func randomTable(_ count: Int, seed: UInt64, runLimit: Int = 2) -> (table: SeekTable, entries: [SeekTable.Entry]) {
    var generator = Generator(seed: seed)
    var table = SeekTable()
    var entries: [SeekTable.Entry] = []
    while entries.count < count {
        let isHole = Bool.random(using: &generator)
        for _ in 0..<min(count - entries.count, Int.random(in: 1...runLimit, using: &generator)) {
            let raw = UInt32.random(in: 1...1_048_576, using: &generator)
            let entry =
                isHole
                ? ZeroFrame.entry(rawByteCount: 1 << Int.random(in: 16...30, using: &generator))
                : SeekTable.Entry(
                    compressedByteCount: .random(in: 14...raw + 14, using: &generator), rawByteCount: raw,
                    checksum: .random(in: 0 ... .max, using: &generator))
            table.append(entry)
            entries.append(entry)
        }
    }
    return (table, entries)
}

/// A temporary folder with one file in it, and a shell to run stock programs on it.
final class Workbench {
    let folder: URL
    var file: String { folder.appendingPathComponent("stream.zst").path }

    init(_ bytes: [UInt8]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("holdfast-zstd-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: file))
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// Runs a script in the folder, where the stream is `stream.zst`; returns its exit status and what it printed.
    func run(_ script: String) throws -> (status: Int32, output: [UInt8]) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-o", "pipefail", "-c", script]
        process.currentDirectoryURL = folder
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, Array(output))
    }
}
