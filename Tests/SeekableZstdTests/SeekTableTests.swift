import Testing

@testable import SeekableZstd

@Suite("Seek table")
struct SeekTableTests {
    @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 129, 1000], [1, 2, 100])
    func `offsets and holes agree with a plain model`(count: Int, runLimit: Int) {
        let (table, entries) = randomTable(count, seed: UInt64(count), runLimit: runLimit)
        let isZero = entries.map { entry in
            (16...30).contains { entry == ZeroFrame.entry(rawByteCount: 1 << $0) }
        }
        var starts: [UInt64] = [0]
        var streamStarts: [UInt64] = [0]
        for entry in entries {
            starts.append(starts[starts.count - 1] + UInt64(entry.rawByteCount))
            streamStarts.append(streamStarts[streamStarts.count - 1] + UInt64(entry.compressedByteCount))
        }
        #expect(table.frameCount == count)
        for index in 0..<count {
            #expect(table[index] == entries[index])
            #expect(table.isZeroFrame(index) == isZero[index])
            #expect(table.rawRange(ofFrame: index) == starts[index]..<starts[index + 1])
            #expect(table.streamRange(ofFrame: index) == streamStarts[index]..<streamStarts[index + 1])
            let data = (index..<count).first { !isZero[$0] }
            let hole = (index..<count).first { isZero[$0] }
            for offset in [starts[index], (starts[index] + starts[index + 1]) / 2, starts[index + 1] - 1] {
                #expect(table.frameIndex(containingRawOffset: offset) == index)
                #expect(table.nextData(at: offset) == data.map { max(offset, starts[$0]) })
                #expect(table.nextHole(at: offset) == hole.map { max(offset, starts[$0]) } ?? table.rawByteCount)
            }
        }
        #expect(table.rawByteCount == starts[count])
        #expect(table.compressedByteCount == streamStarts[count])
        #expect(table.streamByteCount == streamStarts[count] + UInt64(table.serialized().count))
        for offset in [starts[count], starts[count] + 1, UInt64.max] {
            #expect(table.nextData(at: offset) == nil)
            #expect(table.nextHole(at: offset) == table.rawByteCount)
        }
        let data = zip(entries, isZero).filter { !$0.1 }.map(\.0.rawByteCount)
        #expect(table.dataByteCount == data.reduce(0) { $0 + UInt64($1) })
        #expect(table.maximumDataFrameRawByteCount == data.max() ?? 0)
        #expect(table.maximumFrameRawByteCount == entries.map(\.rawByteCount).max() ?? 0)
    }

    @Test func `an empty table is a hole of no bytes`() {
        let table = SeekTable()
        #expect(table.nextData(at: 0) == nil)
        #expect(table.nextHole(at: 0) == 0)
        #expect(table.streamByteCount == 17)
    }

    @Test(arguments: [0, 1, 63, 64, 65, 500])
    func `a table comes back as it was`(count: Int) throws {
        let (table, entries) = randomTable(count, seed: 77)
        let parsed = try parse(table.serialized(), streamByteCount: table.streamByteCount)
        #expect(parsed == table)
        #expect((0..<count).map { parsed[$0] } == entries)
        #expect(parsed.runStarts == table.runStarts)
        #expect(parsed.rawByteCount == table.rawByteCount)
    }

    @Test func `the worked example of the format page holds`() throws {
        let (frame, entry) = try compress(Array("hello".utf8))
        var table = SeekTable()
        table.append(entry)
        table.append(ZeroFrame.entry(rawByteCount: 1 << 20))
        let stream: [UInt8] =
            [
                0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x05, 0x29, 0x00, 0x00, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa3, 0x6d, 0x9f,
                0x88,
            ]
            + [0x28, 0xb5, 0x2f, 0xfd, 0x84, 0x58, 0x00, 0x00, 0x10, 0x00, 0x08, 0x00, 0x00, 0x00]
            + Array(repeatElement([0x02, 0x00, 0x10, 0x00], count: 7).joined())
            + [0xfb, 0xff, 0x0f, 0x00, 0xf1, 0x3e, 0x16, 0xe1, 0x5e, 0x2a, 0x4d, 0x18, 0x21, 0x00, 0x00, 0x00]
            + [0x12, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0xa3, 0x6d, 0x9f, 0x88]
            + [0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0xf1, 0x3e, 0x16, 0xe1]
            + [0x02, 0x00, 0x00, 0x00, 0x80, 0xb1, 0xea, 0x92, 0x8f]
        #expect(frame + ZeroFrame.bytes(rawByteCount: 1 << 20) + table.serialized() == stream)
        #expect(stream.count == 109)
        #expect(try parse(Array(stream.suffix(41)), streamByteCount: 109) == table)
        #expect(table.frameIndex(containingRawOffset: 6) == 1)
        #expect(table.nextData(at: 0) == 0)
        #expect(table.nextHole(at: 0) == 5)
        #expect(table.nextData(at: 5) == nil)
    }
}

@Suite("Hostile seek tables")
struct HostileSeekTableTests {
    private func code(_ bytes: [UInt8], streamByteCount: UInt64) -> SeekableZstdError.Code? {
        do throws(SeekableZstdError) {
            _ = try parse(bytes, streamByteCount: streamByteCount)
            return nil
        } catch {
            return error.code
        }
    }

    @Test func `each lie is refused`() throws {
        let (table, _) = randomTable(10, seed: 5)
        let good = table.serialized()
        let size = table.streamByteCount
        let end = good.count
        func refuse(_ what: Comment, streamByteCount: UInt64? = nil, _ change: (inout [UInt8]) -> Void) {
            var bad = good
            change(&bad)
            #expect(code(bad, streamByteCount: streamByteCount ?? size) == .seekTable, what)
        }
        #expect(code(good, streamByteCount: size) == nil)
        refuse("another magic at the end") { $0[end - 1] ^= 1 }
        refuse("no checksums") { $0[end - 5] = 0 }
        for bit in 0..<7 { refuse("reserved bit \(bit)") { $0[end - 5] |= 1 << UInt8(bit) } }
        refuse("more frames than there are") { $0[end - 9] += 1 }
        refuse("fewer frames than there are") { $0[end - 9] -= 1 }
        refuse("gigabytes of frames") { $0.replaceSubrange((end - 9)..<(end - 5), with: [0xff, 0xff, 0xff, 0x07]) }
        refuse("frames beyond the format") { $0.replaceSubrange((end - 9)..<(end - 5), with: [255, 255, 255, 255]) }
        refuse("gigabytes of frames in a stream of exabytes", streamByteCount: .max) {
            $0.replaceSubrange((end - 9)..<(end - 5), with: [0x01, 0x00, 0x00, 0x01])
        }
        refuse("another skippable frame") { $0[0] = 0x5d }
        refuse("a frame size that lies") { $0[4] ^= 1 }
        refuse("a compressed size that lies") { $0[8] ^= 1 }
        refuse("an empty frame") { $0.replaceSubrange(8..<16, with: [UInt8](repeating: 0, count: 8)) }
        refuse("a frame of no raw bytes") { $0.replaceSubrange(12..<16, with: [0, 0, 0, 0]) }
        refuse("a frame too small to be one") { $0.replaceSubrange(8..<12, with: [13, 0, 0, 0]) }
        refuse("a frame of 4 GiB") { $0.replaceSubrange(12..<16, with: [255, 255, 255, 255]) }
        refuse("a stream one byte longer", streamByteCount: size + 1) { _ in }
        refuse("a stream one byte shorter", streamByteCount: size - 1) { _ in }
        refuse("a stream shorter than its table", streamByteCount: 20) { _ in }
        refuse("no stream", streamByteCount: 0) { _ in }
        for count in 0..<end {
            refuse("the last \(count) bytes") { $0.removeFirst(end - count) }
            refuse("the first \(count) bytes") { $0.removeLast(end - count) }
        }
    }

    @Test func `a frame much larger than its content is refused, one as large as raw blocks is taken`() throws {
        for raw: UInt32 in [1, 1000, 1 << 20, 64 << 20] {
            var table = SeekTable()
            let bound = UInt32(FrameCompressor.destinationByteCount(forRawByteCount: Int(raw)))
            table.append(.init(compressedByteCount: bound, rawByteCount: raw, checksum: 1))
            #expect(code(table.serialized(), streamByteCount: table.streamByteCount) == nil)
            for size in [bound + raw / 100 + 2000, .max] {
                var table = SeekTable()
                table.append(.init(compressedByteCount: size, rawByteCount: raw, checksum: 1))
                #expect(code(table.serialized(), streamByteCount: table.streamByteCount) == .seekTable)
            }
        }
    }

    @Test func `only a canonical zero frame may be larger than the reader's memory`() throws {
        var table = SeekTable()
        table.append(ZeroFrame.entry(rawByteCount: 1 << 30))
        #expect(code(table.serialized(), streamByteCount: table.streamByteCount) == nil)
        for change: (inout SeekTable.Entry) -> Void in [
            { $0.checksum ^= 1 }, { $0.compressedByteCount += 1 }, { $0.rawByteCount -= 1 },
        ] {
            var entry = ZeroFrame.entry(rawByteCount: 1 << 30)
            change(&entry)
            var table = SeekTable()
            table.append(entry)
            #expect(!table.isZeroFrame(0))
            #expect(code(table.serialized(), streamByteCount: table.streamByteCount) == .seekTable)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a damaged table is refused or says what its bytes say`() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed of the damaged tables: \(seed)")
        var generator = Generator(seed: seed)
        for round in 0..<3000 {
            let (table, _) = randomTable(Int.random(in: 0...20, using: &generator), seed: UInt64(round))
            var bytes = table.serialized()
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 1: bytes[position] = UInt8.random(in: 0...255, using: &generator)
                default: bytes.removeSubrange(position..<min(bytes.count, position + 12))
                }
                guard bytes.count > 9 else { break }
            }
            do throws(SeekableZstdError) {
                let parsed = try parse(bytes, streamByteCount: table.streamByteCount)
                #expect(parsed.serialized() == bytes, "seed \(seed), round \(round)")
                #expect(parsed.streamByteCount == table.streamByteCount)
            } catch {
                #expect(error.code == .seekTable)
            }
        }
    }
}
