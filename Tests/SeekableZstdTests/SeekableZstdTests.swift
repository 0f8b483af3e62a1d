@testable import SeekableZstd
import Testing

@Suite("Seekable zstd")
struct SeekableZstdTests {
    private func compress(_ raw: [UInt8], level: Int32 = 3) throws -> (frame: [UInt8], entry: SeekTable.Entry) {
        var compressor = FrameCompressor(level: level, maximumRawByteCount: raw.count)
        var destination = [UInt8](repeating: 0, count: FrameCompressor.destinationByteCount(forRawByteCount: raw.count))
        let entry = try raw.withUnsafeBytes { raw in
            try destination.withUnsafeMutableBytes { try compressor.compress(raw, into: $0) }
        }
        return (Array(destination[..<Int(entry.compressedByteCount)]), entry)
    }

    private func decompress(_ frame: [UInt8], _ entry: SeekTable.Entry) throws -> [UInt8] {
        var decompressor = FrameDecompressor()
        var raw = [UInt8](repeating: 0xee, count: Int(entry.rawByteCount))
        try frame.withUnsafeBytes { frame in
            try raw.withUnsafeMutableBytes { try decompressor.decompress(frame, as: entry, into: $0) }
        }
        return raw
    }

    @Test(arguments: [1, 2, 100, 65535, 65536, 131072, 131073, 1 << 20], [-5, 1, 3, 19] as [Int32])
    func `a frame comes back as it was`(count: Int, level: Int32) throws {
        let raw = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) }
        let (frame, entry) = try compress(raw, level: level)
        #expect(Int(entry.rawByteCount) == count)
        #expect(try decompress(frame, entry) == raw)
    }

    @Test(arguments: 16...24)
    func `a zero frame decodes to zeros, and has the checksum that libzstd computes`(power: Int) throws {
        let size = 1 << power
        let entry = ZeroFrame.entry(rawByteCount: size)
        let bytes = ZeroFrame.bytes(rawByteCount: size)
        #expect(bytes.count == Int(entry.compressedByteCount))
        // libzstd checks the checksum as it decodes.
        #expect(try decompress(bytes, entry) == [UInt8](repeating: 0, count: size))
    }

    @Test(arguments: 25...30)
    func `large zero frames carry the right checksum too`(power: Int) throws {
        let raw = [UInt8](repeating: 0, count: 1 << power)
        let (_, entry) = try compress(raw, level: 1)
        #expect(entry.checksum == ZeroFrame.entry(rawByteCount: 1 << power).checksum)
    }

    @Test func `data whose entry would look like zeros is written with raw blocks`() throws {
        // All zeros compressed by libzstd is not the canonical frame, so the guard is reached directly: raw blocks decode.
        let raw = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        let (_, entry) = try compress(raw)
        var destination = [UInt8](repeating: 0, count: RawBlockFrame.byteCount(forRawByteCount: raw.count))
        let rawEntry = raw.withUnsafeBytes { raw in
            destination.withUnsafeMutableBytes { RawBlockFrame.write(raw, checksum: entry.checksum, into: $0) }
        }
        #expect(rawEntry.compressedByteCount > rawEntry.rawByteCount)
        #expect(try decompress(destination, rawEntry) == raw)
    }

    @Test(arguments: [1, 2, 3, 1023, 1024, 1025, 5000] as [UInt64])
    func `a run of zero blocks is cut into powers of two, largest first`(blocks: UInt64) {
        let sizes = ZeroFrame.decomposition(ofBlocks: blocks, blockByteCount: 1 << 20)
        #expect(UInt64(sizes.reduce(0, +)) == blocks << 20)
        #expect(sizes == sizes.sorted(by: >))
        #expect(sizes.allSatisfy { ZeroFrame.exists(rawByteCount: $0) })
    }

    // MARK: Seek tables

    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }

    private func randomTable(_ count: Int, seed: UInt64) -> (SeekTable, [SeekTable.Entry]) {
        var generator = Generator(state: seed)
        var table = SeekTable()
        var entries: [SeekTable.Entry] = []
        for _ in 0..<count {
            let entry =
                Bool.random(using: &generator)
                ? ZeroFrame.entry(rawByteCount: 1 << Int.random(in: 16...30, using: &generator))
                : SeekTable.Entry(
                    compressedByteCount: .random(in: 9...2_000_000, using: &generator),
                    rawByteCount: .random(in: 1...1_048_576, using: &generator), checksum: .random(in: 0...(.max), using: &generator))
            table.append(entry)
            entries.append(entry)
        }
        return (table, entries)
    }

    @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 129, 1000])
    func `offsets and holes agree with a plain model`(count: Int) {
        let (table, entries) = randomTable(count, seed: UInt64(count))
        var raw: UInt64 = 0
        var stream: UInt64 = 0
        var starts: [UInt64] = []
        for (index, entry) in entries.enumerated() {
            starts.append(raw)
            #expect(table.rawRange(ofFrame: index) == raw..<raw + UInt64(entry.rawByteCount))
            #expect(table.streamRange(ofFrame: index) == stream..<stream + UInt64(entry.compressedByteCount))
            for offset in [raw, raw + UInt64(entry.rawByteCount) - 1] {
                #expect(table.frameIndex(containingRawOffset: offset) == index)
                let data = (index..<count).first { !table.isZeroFrame($0) }
                #expect(table.nextData(at: offset) == data.map { max(offset, $0 == index ? offset : table.rawRange(ofFrame: $0).lowerBound) })
                let hole = (index..<count).first { table.isZeroFrame($0) }
                #expect(table.nextHole(at: offset) == hole.map { $0 == index ? offset : table.rawRange(ofFrame: $0).lowerBound } ?? table.rawByteCount)
            }
            raw += UInt64(entry.rawByteCount)
            stream += UInt64(entry.compressedByteCount)
        }
        #expect(table.rawByteCount == raw)
        #expect(table.compressedByteCount == stream)
        #expect(table.nextData(at: raw) == nil)
    }

    private func parse(_ bytes: [UInt8], streamByteCount: UInt64) throws -> SeekTable {
        try bytes.withUnsafeBytes { bytes in
            let footer = UnsafeRawBufferPointer(rebasing: bytes.suffix(SeekTable.footerByteCount))
            _ = try SeekTable.byteCount(parsingFooter: footer, streamByteCount: streamByteCount)
            return try SeekTable(
                parsing: bytes, streamByteCount: streamByteCount, maximumDataFrameRawByteCount: 64 << 20)
        }
    }

    @Test(arguments: [0, 1, 64, 500])
    func `a table comes back as it was`(count: Int) throws {
        let (table, _) = randomTable(count, seed: 77)
        #expect(try parse(table.serialized(), streamByteCount: table.streamByteCount) == table)
    }

    @Test func `hostile tables are refused`() throws {
        let (table, _) = randomTable(10, seed: 5)
        let good = table.serialized()
        let size = table.streamByteCount
        func refuse(_ what: String, streamByteCount: UInt64? = nil, _ change: (inout [UInt8]) -> Void) {
            var bad = good
            change(&bad)
            let error = #expect(throws: SeekableZstdError.self, "\(what)") {
                _ = try parse(bad, streamByteCount: streamByteCount ?? size)
            }
            #expect(error?.code == .seekTable, "\(what)")
        }
        let end = good.count
        refuse("another magic at the end") { $0[end - 1] ^= 1 }
        refuse("no checksums") { $0[end - 5] = 0 }
        refuse("reserved bits") { $0[end - 5] = 0x84 }
        refuse("more frames than there are") { $0[end - 9] += 1 }
        refuse("fewer frames than there are") { $0[end - 9] -= 1 }
        refuse("a number of frames that would take gigabytes") { $0.replaceSubrange((end - 9)..<(end - 5), with: [0xff, 0xff, 0xff, 0x07]) }
        refuse("a number of frames beyond the format") { $0.replaceSubrange((end - 9)..<(end - 5), with: [0xff, 0xff, 0xff, 0xff]) }
        refuse("another skippable frame") { $0[0] = 0x5d }
        refuse("a frame size that lies") { $0[4] ^= 1 }
        refuse("a compressed size that lies") { $0[8] ^= 1 }
        refuse("an empty frame") { $0.replaceSubrange(8..<16, with: [UInt8](repeating: 0, count: 8)) }
        refuse("a frame of 4 GiB") { $0.replaceSubrange(12..<16, with: [UInt8](repeating: 0xff, count: 4)) }
        refuse("a stream one byte longer", streamByteCount: size + 1) { _ in }
        refuse("a stream shorter than its table", streamByteCount: 20) { _ in }
    }

    @Test func `frames that are not what the table says are refused`() throws {
        let raw = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        let (frame, entry) = try compress(raw)
        func code(_ frame: [UInt8], _ entry: SeekTable.Entry) -> SeekableZstdError.Code? {
            do {
                _ = try decompress(frame, entry)
                return nil
            } catch {
                return (error as? SeekableZstdError)?.code
            }
        }
        #expect(code(frame, entry) == nil)
        var lie = entry
        lie.checksum ^= 1
        #expect(code(frame, lie) == .frameChecksum)
        lie = entry
        lie.rawByteCount += 1
        #expect(code(frame, lie) == .frameSize)
        lie = entry
        lie.compressedByteCount += 1
        #expect(code(frame + [0], lie) == .frameSize)
        var generator = Generator(state: 11)
        for _ in 0..<300 {
            var bad = frame
            bad[Int.random(in: 0..<bad.count, using: &generator)] ^= UInt8(1 << Int.random(in: 0..<8, using: &generator))
            #expect(code(bad, entry) != nil)
        }
    }
}
