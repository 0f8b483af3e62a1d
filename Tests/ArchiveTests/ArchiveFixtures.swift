import AgeFormat
import Archive
import CryptoPrimitives
import Foundation
import SeekableZstd
import Synchronization
import Workers

/// Bytes in memory, as a source and as a sink.
final class MemoryArchive: ArchiveSource, ArchiveSink {
    private let bytes: Mutex<[UInt8]>
    private let requestCount = Mutex(0)

    init(_ bytes: [UInt8] = []) { self.bytes = Mutex(bytes) }

    var byteCount: UInt64 { UInt64(bytes.withLock { $0.count }) }
    var content: [UInt8] { bytes.withLock { $0 } }
    var requests: Int { requestCount.withLock { $0 } }

    func append(_ bytes: UnsafeRawBufferPointer) { self.bytes.withLock { $0 += bytes } }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        requestCount.withLock { $0 += 1 }
        try bytes.withLock { bytes in
            guard Int(offset) + buffer.count <= bytes.count else { throw EndOfArchive() }
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
    }

    struct EndOfArchive: Error {}
}

/// The same bytes each time, from a seed (SplitMix64).
final class SeededRandom: RandomSource {
    private let state: Mutex<UInt64>

    init(_ seed: UInt64) { state = Mutex(seed) }

    func next() -> UInt64 {
        state.withLock { state in
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return z ^ z >> 31
        }
    }

    func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        for index in buffer.indices { buffer[index] = UInt8(truncatingIfNeeded: next()) }
    }
}

enum TestImage {
    /// Stretches of zeros, text and noise, as disks have them.
    static func make(byteCount: Int, seed: UInt64) -> [UInt8] {
        let random = SeededRandom(seed)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        while bytes.count < byteCount {
            let length = min(byteCount - bytes.count, Int(random.next() % 300_000) + 1)
            switch random.next() % 3 {
            case 0: bytes += [UInt8](repeating: 0, count: length)
            case 1: bytes += (0..<length).map { UInt8(truncatingIfNeeded: $0 / 7) & 0x3f }
            default: bytes += (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            }
        }
        return bytes
    }
}

/// Writes and reads archives in memory.
struct ArchiveBench {
    let identity: AgeIdentity
    let settings: ArchiveSettings

    init(frameByteCount: Int = 64 << 10, level: Int32 = 3, identity: AgeIdentity = .generate()) {
        settings = ArchiveSettings(frameByteCount: frameByteCount, level: level)
        self.identity = identity
    }

    func write(
        _ raw: [UInt8], pool: WorkerPool, random: any RandomSource = SystemRandomSource(),
        bufferByteCount: Int = 4 << 20
    ) throws -> (archive: MemoryArchive, facts: ArchiveFacts) {
        let archive = MemoryArchive()
        let writer = try ArchiveWriter(
            settings: settings, recipients: [identity.recipient], sink: archive, pool: pool,
            buffers: BufferPool(capacityByteCount: bufferByteCount), random: random)
        var offset = 0
        while offset < raw.count {
            let count = min(settings.frameByteCount, raw.count - offset)
            let buffer = try writer.takeFrameBuffer()
            buffer.bytes.copyBytes(from: raw[offset..<offset + count])
            try writer.submit(buffer, count: count)
            offset += count
        }
        return (archive, try writer.finish())
    }

    /// The whole image through the reader, frame by frame.
    func read(_ reader: ArchiveReader) throws -> [UInt8] {
        var raw: [UInt8] = []
        let decoder = FrameDecoder()
        for index in 0..<reader.seekTable.frameCount {
            raw += try read(frame: index, reader, decoder)
        }
        return raw
    }

    func read(frame index: Int, _ reader: ArchiveReader, _ decoder: FrameDecoder) throws -> [UInt8] {
        let count = Int(reader.seekTable[index].rawByteCount)
        if reader.seekTable.isZeroFrame(index) { return [UInt8](repeating: 0, count: count) }
        var raw = [UInt8](repeating: 0xee, count: count)
        let run = reader.layout.run(ofFrames: index..<index + 1)
        var ciphertext = [UInt8](repeating: 0, count: run.ciphertextByteCount)
        try ciphertext.withUnsafeMutableBytes { ciphertext in
            try raw.withUnsafeMutableBytes {
                try reader.read(frame: index, with: decoder, ciphertext: ciphertext, into: $0)
            }
        }
        return raw
    }
}

/// A temporary folder that goes with its owner.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "holdfast-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String, _ bytes: [UInt8]) throws -> String {
        let full = path + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: full))
        return full
    }
}

/// Runs a shell line and gives its standard output; throws when it fails. Ended after 60 seconds.
func shell(_ line: String) throws -> [UInt8] {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
    process.arguments = ["60", "bash", "-c", "set -o pipefail; " + line]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw ShellError(line: line, status: process.terminationStatus) }
    return Array(data)
}

struct ShellError: Error {
    let line: String
    let status: Int32
}
