import Foundation
import Testing

@testable import DiskImage

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

/// A sparse image in a temporary folder, made by a script that finds it as `$image`.
final class ImageFile {
    struct ScriptError: Error { let output: String }

    private let folder: URL
    let url: URL

    init(byteCount: UInt64, script: String) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("holdfast-image-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        url = folder.appendingPathComponent("disk.raw")
        try Data().write(to: url)
        let file = try FileHandle(forWritingTo: url)
        try file.truncate(atOffset: byteCount)
        try file.close()
        _ = try run(script)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    @discardableResult
    func run(_ script: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-e", "-o", "pipefail", "-c", script]
        var environment = ProcessInfo.processInfo.environment
        environment["image"] = url.path
        environment["PATH"] = "/usr/sbin:/sbin:" + (environment["PATH"] ?? "/usr/bin:/bin")
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw ScriptError(output: output) }
        return output
    }

    func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
        let file = try FileHandle(forReadingFrom: url)
        defer { try? file.close() }
        try file.seek(toOffset: offset)
        return Array(try file.read(upToCount: count) ?? Data())
    }

    func write(_ bytes: [UInt8], at offset: UInt64) throws {
        let file = try FileHandle(forUpdating: url)
        defer { try? file.close() }
        try file.seek(toOffset: offset)
        try file.write(contentsOf: Data(bytes))
    }

    func declaredSizes() throws -> [DeclaredSize] {
        try bytes(at: 0, count: ImageHead.byteCount).withUnsafeBytes { ImageHead.declaredSizes(in: $0) }
    }

    /// The table that the first `byteCount` bytes of the image show.
    func partitionTable(byteCount: UInt64) throws -> PartitionTable? {
        try PartitionTable.read(imageByteCount: byteCount) { offset, buffer in
            #expect(offset + UInt64(buffer.count) <= byteCount, "a read behind the end of the image")
            buffer.copyBytes(from: try bytes(at: offset, count: buffer.count))
        }
    }
}

/// An image in memory.
struct ImageBytes {
    var bytes: [UInt8]

    init(byteCount: Int) { bytes = [UInt8](repeating: 0, count: byteCount) }

    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
    }

    mutating func put(_ text: String, at offset: Int) {
        bytes.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
    }

    /// A record of a boot sector.
    mutating func putRecord(_ index: Int, type: UInt8, first: UInt32, count: UInt32, sector: Int = 0) {
        let start = sector * 512 + 446 + index * 16
        bytes[start + 4] = type
        put(first, at: start + 8)
        put(count, at: start + 12)
        put(UInt16(0xaa55), at: sector * 512 + 510)
    }

    /// One copy of a GPT. Its checksums fit; `change` sees the header before it is sealed.
    mutating func putGPT(
        headerSector: UInt64, alternate: UInt64, entriesSector: UInt64, sectorByteCount: Int = 512,
        entries: [(first: UInt64, last: UInt64)], entryCount: UInt32? = nil, entryByteCount: Int = 128,
        change: (inout ImageBytes, Int) -> Void = { _, _ in }
    ) {
        let base = Int(entriesSector) * sectorByteCount
        for (index, entry) in entries.enumerated() {
            let start = base + index * entryByteCount
            bytes[start] = UInt8(truncatingIfNeeded: index) | 0x80
            put(entry.first, at: start + 32)
            put(entry.last, at: start + 40)
            put(UInt16(0x61), at: start + 56)
        }
        let header = Int(headerSector) * sectorByteCount
        put("EFI PART", at: header)
        put(UInt32(0x10000), at: header + 8)
        put(UInt32(92), at: header + 12)
        put(headerSector, at: header + 24)
        put(alternate, at: header + 32)
        put(entriesSector, at: header + 72)
        put(entryCount ?? UInt32(entries.count), at: header + 80)
        put(UInt32(entryByteCount), at: header + 84)
        put(Checksum.crc32(bytes[base..<base + entries.count * entryByteCount]), at: header + 88)
        change(&self, header)
        put(UInt32(0), at: header + 16)
        put(Checksum.crc32(bytes[header..<header + 92]), at: header + 16)
    }

    func partitionTable() throws -> PartitionTable? {
        try PartitionTable.read(imageByteCount: UInt64(bytes.count)) { offset, buffer in
            #expect(offset + UInt64(buffer.count) <= UInt64(bytes.count), "a read behind the end of the image")
            buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
        }
    }

    func declaredSizes() -> [DeclaredSize] { bytes.withUnsafeBytes { ImageHead.declaredSizes(in: $0) } }
}
