import Testing

@testable import SeekableZstd

@Suite("Frames")
struct FrameTests {
    @Test(arguments: [1, 2, 100, 65535, 65536, 131_071, 131_072, 131_073, 1_048_575, 1_048_576, 1_048_577, 3_145_745])
    func `a frame comes back as it was, at any level`(count: Int) throws {
        let raw = text(count)
        for level: Int32 in count > 1 << 20 ? [-5, 1, 3] : [-5, 1, 3, 9, 19] {
            let (frame, entry) = try compress(raw, level: level)
            #expect(Int(entry.rawByteCount) == count)
            #expect(Int(entry.compressedByteCount) == frame.count)
            #expect(try decompress(frame, entry) == raw, "level \(level)")
        }
    }

    @Test func `random bytes fit into the destination`() throws {
        var generator = Generator(seed: 3)
        for count in [1, 127, 128 << 10, (128 << 10) + 1, 1 << 20] {
            let raw = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let (frame, entry) = try compress(raw)
            #expect(try decompress(frame, entry) == raw)
        }
    }

    @Test func `a reused compressor makes the same frames as a new one`() throws {
        var compressor = FrameCompressor(level: 3, maximumRawByteCount: 200_000)
        var destination = [UInt8](
            repeating: 0, count: FrameCompressor.destinationByteCount(forRawByteCount: 200_000))
        for (seed, count) in [200_000, 1, 70_000, 200_000, 199_999, 13].enumerated() {
            let raw = text(count, seed: UInt64(seed))
            let entry = try raw.withUnsafeBytes { raw in
                try destination.withUnsafeMutableBytes { try compressor.compress(raw, into: $0) }
            }
            let fresh = try compress(raw)
            #expect(entry == fresh.entry)
            #expect(Array(destination[..<fresh.frame.count]) == fresh.frame)
        }
    }

    @Test func `a destination that is too small is an error of the compressor`() throws {
        var compressor = FrameCompressor(level: 3, maximumRawByteCount: 1000)
        var destination = [UInt8](repeating: 0, count: 20)
        let raw = text(1000)
        let error = #expect(throws: SeekableZstdError.self) {
            _ = try raw.withUnsafeBytes { raw in
                try destination.withUnsafeMutableBytes { try compressor.compress(raw, into: $0) }
            }
        }
        #expect(error?.code == .compressor)
    }

    @Test func `a frame of a format before zstd 0.8 is refused, whose checksum libzstd does not check`() throws {
        // Eight letters in a raw block of format 0.7; Debian's libzstd decodes it.
        let frame: [UInt8] =
            [0x27, 0xb5, 0x2f, 0xfd, 0x24, 8, 0x40, 0, 8] + [UInt8](repeating: 0x41, count: 8) + [0xc0, 0, 0]
        let entry = SeekTable.Entry(compressedByteCount: 20, rawByteCount: 8, checksum: 0x0000_c041)
        let error = #expect(throws: SeekableZstdError.self) { try decompress(frame, entry) }
        #expect(error?.code == .frame)
    }

    @Test func `frames that are not what the table says are refused`() throws {
        let raw = text(5000)
        let (frame, entry) = try compress(raw)
        func code(_ frame: [UInt8], _ change: (inout SeekTable.Entry) -> Void = { _ in }) -> SeekableZstdError.Code? {
            var entry = entry
            change(&entry)
            do throws(SeekableZstdError) {
                _ = try decompress(frame, entry)
                return nil
            } catch {
                return error.code
            }
        }
        #expect(code(frame) == nil)
        #expect(code(frame) { $0.checksum ^= 1 } == .frameChecksum)
        #expect(code(frame) { $0.rawByteCount += 1 } == .frameSize)
        #expect(code(frame) { $0.rawByteCount -= 1 } == .frameSize)
        #expect(code(frame) { $0.compressedByteCount += 1 } == .frameSize)
        #expect(code(frame + [0]) { $0.compressedByteCount += 1 } == .frameSize, "a byte behind the frame")
        #expect(code(frame + frame) { $0.compressedByteCount *= 2 } == .frameSize, "two frames")
        #expect(code([]) { $0.compressedByteCount = 0 } == .frameSize)
        var bad = frame
        bad[4] &= ~0x04
        #expect(code(bad) == .frameChecksum, "a frame without a checksum")
        bad = frame
        bad[0] = 0x29
        #expect(code(bad) == .frame, "no frame at all")
        bad = frame
        bad[frame.count / 2] ^= 0x10
        #expect(code(bad) != nil, "damaged content")
        // All of it consistent but for the content: only the checksum can tell.
        let (other, otherEntry) = try compress([UInt8](repeating: 7, count: 5000))
        bad = other
        bad.replaceSubrange((other.count - 4)..., with: frame.suffix(4))
        #expect(code(bad) { $0.compressedByteCount = otherEntry.compressedByteCount } == .frame, "another content")
        for count in 0..<frame.count {
            #expect(code(Array(frame[..<count])) { $0.compressedByteCount = UInt32(count) } != nil, "cut at \(count)")
        }
    }

    @Test(.timeLimit(.minutes(1))) func `damaged frames never give other bytes`() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed of the damaged frames: \(seed)")
        var generator = Generator(seed: seed)
        for round in 0..<4000 {
            let raw = text(Int.random(in: 1...3000, using: &generator), seed: UInt64(round % 16))
            let (frame, entry) = try compress(raw, level: 1)
            var bad = frame
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let position = Int.random(in: 0..<bad.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: bad[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 1: bad[position] = UInt8.random(in: 0...255, using: &generator)
                case 2: bad.replaceSubrange(position..., with: repeatElement(0, count: bad.count - position))
                default: bad.swapAt(position, Int.random(in: 0..<bad.count, using: &generator))
                }
            }
            do throws(SeekableZstdError) {
                let result = try decompress(bad, entry)
                #expect(result == raw, "seed \(seed), round \(round)")
            } catch {
                #expect(error.code != .compressor && error.code != .seekTable)
            }
        }
    }
}

/// Data that has the checksum and the compressed size of a zero frame, and is not zero.
@Suite("Data that looks like a zero frame")
struct ZeroFrameCollisionTests {
    private static let prime1: UInt64 = 0x9e37_79b1_85eb_ca87
    private static let prime2: UInt64 = 0xc2b2_ae3d_27d4_eb4f

    /// One step of a lane of XXH64.
    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        let sum = lane &+ input &* prime2
        return (sum << 31 | sum >> 33) &* prime1
    }

    private static func inverse(_ odd: UInt64) -> UInt64 {
        // Newton's iteration doubles the number of right bits: 3, 6, 12, 24, 48, 96.
        var value = odd
        for _ in 0..<5 { value = value &* (2 &- odd &* value) }
        return value
    }

    /// Zeros but for `input` at the start of a stripe of 32 bytes, and in the next stripe the value that brings the lane of
    /// XXH64 back to where zeros would have brought it: the same 64-bit hash as zeros.
    private static func zerosWithCollision(_ count: Int, stripe: Int, input: UInt64) -> [UInt8] {
        var lane = prime1 &+ prime2
        for _ in 0..<stripe { lane = round(lane, 0) }
        let answer = (round(lane, 0) &- round(lane, input)) &* inverse(prime2)
        var bytes = [UInt8](repeating: 0, count: count)
        for index in 0..<8 {
            bytes[stripe * 32 + index] = UInt8(truncatingIfNeeded: input >> (8 * UInt64(index)))
            bytes[stripe * 32 + 32 + index] = UInt8(truncatingIfNeeded: answer >> (8 * UInt64(index)))
        }
        return bytes
    }

    @Test func `the collision is one`() throws {
        let raw = Self.zerosWithCollision(1 << 20, stripe: 100, input: 1)
        let (frame, entry) = try compress(raw)
        #expect(entry.checksum == ZeroFrame.entry(rawByteCount: 1 << 20).checksum)
        #expect(try decompress(frame, entry) == raw)
    }

    /// libzstd does not make such data as small as a zero frame (it needs 18 bytes more), another version or level might: so
    /// the guard is given the entry that it would see then.
    @Test(arguments: [16, 17, 20, 23])
    func `data whose entry would be that of a zero frame is written with raw blocks`(power: Int) throws {
        let raw = Self.zerosWithCollision(1 << power, stripe: 7, input: 0xfeed)
        var frame = [UInt8](
            repeating: 0xee, count: FrameCompressor.destinationByteCount(forRawByteCount: raw.count))
        let entry = raw.withUnsafeBytes { raw in
            frame.withUnsafeMutableBytes {
                FrameCompressor.distinguishedFromZeroFrames(ZeroFrame.entry(rawByteCount: raw.count), raw, in: $0)
            }
        }
        #expect(!SeekTable.isZeroFrame(entry))
        #expect(Int(entry.compressedByteCount) == RawBlockFrame.byteCount(forRawByteCount: raw.count))
        // libzstd checks the checksum as it decodes.
        #expect(try decompress(Array(frame[..<Int(entry.compressedByteCount)]), entry) == raw)
    }

    @Test func `zeros may look like a zero frame`() {
        let raw = [UInt8](repeating: 0, count: 1 << 16)
        var frame = [UInt8](repeating: 0xee, count: 1 << 17)
        let entry = raw.withUnsafeBytes { raw in
            frame.withUnsafeMutableBytes {
                FrameCompressor.distinguishedFromZeroFrames(ZeroFrame.entry(rawByteCount: raw.count), raw, in: $0)
            }
        }
        #expect(SeekTable.isZeroFrame(entry))
        #expect(frame.allSatisfy { $0 == 0xee })
    }

    @Test func `a frame of raw blocks is a good frame`() throws {
        for count in [1, 131_072, 131_073, 300_000] {
            let raw = text(count)
            let (_, entry) = try compress(raw)
            var frame = [UInt8](repeating: 0, count: RawBlockFrame.byteCount(forRawByteCount: count))
            let rawEntry = raw.withUnsafeBytes { raw in
                frame.withUnsafeMutableBytes { RawBlockFrame.write(raw, checksum: entry.checksum, into: $0) }
            }
            #expect(Int(rawEntry.compressedByteCount) == frame.count)
            #expect(try decompress(frame, rawEntry) == raw)
        }
    }
}
