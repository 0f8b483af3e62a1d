import AgeFormat
import Archive
import CryptoPrimitives
import SeekableZstd
import Testing
import Workers

@Suite("Archive")
struct ArchiveTests {
    static let frame = 64 << 10
    static let sizes = [0, 1, 511, 512, frame - 1, frame, frame + 1, 2 * frame, 2 * frame + 77, 20 * frame + 5]

    @Test(.timeLimit(.minutes(1)), arguments: sizes)
    func `what is written is read back, with both hashes, at every size`(byteCount: Int) throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench()
        for raw in [TestImage.make(byteCount: byteCount, seed: 1), [UInt8](repeating: 0, count: byteCount)] {
            let (archive, facts) = try bench.write(raw, pool: pool)
            #expect(facts.rawByteCount == UInt64(byteCount))
            #expect(facts.rawSHA256 == SHA256Hasher.digest(of: raw))
            #expect(facts.archiveSHA256 == SHA256Hasher.digest(of: archive.content))
            #expect(facts.access.archiveByteCount == archive.byteCount)
            let reader = try ArchiveReader.open(source: archive, identities: [bench.identity])
            #expect(archive.requests <= 2)
            #expect(reader.seekTable == facts.access.seekTable)
            #expect(try bench.read(reader) == raw)
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `opening a known archive makes no request`() throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench()
        let raw = TestImage.make(byteCount: 1 << 20, seed: 2)
        let (archive, facts) = try bench.write(raw, pool: pool)
        let reader = try ArchiveReader(source: archive, access: facts.access, identities: [bench.identity])
        #expect(archive.requests == 0)
        #expect(try bench.read(reader) == raw)
    }

    @Test(.timeLimit(.minutes(1)))
    func `the same input, keys and settings give the same archive, whatever the number of workers`() throws {
        let raw = TestImage.make(byteCount: 3_000_001, seed: 3)
        let bench = ArchiveBench()
        var archives: Set<[UInt8]> = []
        for workers in [1, 2, 5, 2] {
            let pool = WorkerPool(threadCount: workers)
            archives.insert(try bench.write(raw, pool: pool, random: SeededRandom(9)).archive.content)
            pool.close()
        }
        #expect(archives.count == 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a long hole becomes a few zero frames, and costs nearly nothing`() throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench(frameByteCount: 1 << 20)
        let archive = MemoryArchive()
        let writer = try ArchiveWriter(
            settings: bench.settings, recipients: [bench.identity.recipient], sink: archive, pool: pool,
            buffers: BufferPool(capacityByteCount: 16 << 20))
        // 1 GiB + 512 MiB + 1 MiB, then a byte.
        try writer.submitZeroBlocks(1024)
        try writer.submitZeroBlocks(513)
        let buffer = try writer.takeFrameBuffer()
        buffer.bytes[0] = 7
        try writer.submit(buffer, count: 1)
        let facts = try writer.finish()
        let table = facts.access.seekTable
        #expect((0..<table.frameCount).map { table[$0].rawByteCount } == [1 << 30, 1 << 29, 1 << 20, 1])
        #expect(table.dataByteCount == 1)
        #expect(table.nextData(at: 0) == 1537 << 20)
        #expect(archive.byteCount < 80_000)
        #expect(facts.rawByteCount == 1537 << 20 + 1)
    }

    @Test(.timeLimit(.minutes(1)))
    func `another key does not open it, and no key is needed to notice`() throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let (archive, _) = try ArchiveBench().write([1, 2, 3], pool: pool)
        for identities in [[], [AgeIdentity.generate()]] {
            let error = #expect(throws: ArchiveError.self) {
                _ = try ArchiveReader.open(source: archive, identities: identities)
            }
            #expect(error?.code == .noMatchingKey)
        }
    }

    /// Reads everything there is, as a verification does.
    private func readWhole(_ bytes: [UInt8], _ bench: ArchiveBench) throws {
        let reader = try ArchiveReader.open(source: MemoryArchive(bytes), identities: [bench.identity])
        _ = try bench.read(reader)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a flipped bit anywhere is refused`() throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench()
        // Noise: nothing of it is in zero frames, so every chunk is read.
        let random = SeededRandom(4)
        let raw = (0..<300_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let (archive, facts) = try bench.write(raw, pool: pool)
        let good = archive.content
        let header = facts.access.header.count
        var places = Array(stride(from: 0, to: header, by: 3)) + [header, header + 1, good.count - 1, good.count - 17]
        places += (0..<60).map { _ in Int(random.next() % UInt64(good.count)) }
        for place in places {
            var bad = good
            bad[place] ^= 1 << UInt8(random.next() % 8)
            let error = #expect(throws: ArchiveError.self, "byte \(place)") { try readWhole(bad, bench) }
            let expected: Set<ArchiveError.Code> =
                place < header - 16 ? [.header, .headerAuthentication, .noMatchingKey] : [.payload]
            #expect(error.map { expected.contains($0.code) } == true, "byte \(place): \(String(describing: error))")
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `an archive cut at any boundary, or with bytes behind its end, is refused`() throws {
        let pool = WorkerPool()
        defer { pool.close() }
        let bench = ArchiveBench()
        let (archive, facts) = try bench.write(TestImage.make(byteCount: 700_000, seed: 5), pool: pool)
        let good = archive.content
        let header = facts.access.header.count
        var cuts = [0, 1, 21, 22, header - 17, header - 16, header - 1, header, header + 1, header + 15, header + 16]
        for chunk in 1...(good.count - header) / 65552 {
            let end = header + chunk * 65552
            cuts += [end - 17, end - 16, end - 1, end, end + 1, end + 15, end + 16, end + 17]
        }
        cuts += [good.count - 1, good.count - 16]
        for cut in cuts where cut < good.count {
            #expect(throws: ArchiveError.self, "cut at \(cut)") { try readWhole(Array(good[..<cut]), bench) }
            // The catalog knows the size; a reader that trusts the catalog meets the end when it fetches.
            #expect(throws: ArchiveError.self, "known, cut at \(cut)") {
                let reader = try ArchiveReader(
                    source: MemoryArchive(Array(good[..<cut])), access: facts.access, identities: [bench.identity])
                _ = try bench.read(reader)
                let tail = reader.layout.seekTableRun
                var buffer = [UInt8](repeating: 0, count: tail.ciphertextByteCount)
                try buffer.withUnsafeMutableBytes { try reader.fetch(tail, into: $0) }
            }
        }
        for extra in [1, 16, 17, 65552] {
            #expect(throws: ArchiveError.self) { try readWhole(good + [UInt8](repeating: 0, count: extra), bench) }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a seek table that lies about sizes is refused, though it is authentic`() throws {
        let identity = AgeIdentity.generate()
        var compressor = FrameCompressor(level: 1, maximumRawByteCount: 1000)
        var destination = [UInt8](repeating: 0, count: FrameCompressor.destinationByteCount(forRawByteCount: 1000))
        let raw = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }
        let entry = try raw.withUnsafeBytes { raw in
            try destination.withUnsafeMutableBytes { try compressor.compress(raw, into: $0) }
        }
        let frame = Array(destination[..<Int(entry.compressedByteCount)])
        func archive(_ entries: [SeekTable.Entry]) throws -> [UInt8] {
            var table = SeekTable()
            for entry in entries { table.append(entry) }
            return try Age.encrypt(frame + table.serialized(), to: [identity.recipient])
        }
        let bench = ArchiveBench(identity: identity)
        try readWhole(archive([entry]), bench)
        var lies: [(SeekTable.Entry, ArchiveError.Code)] = []
        for change in [-1, 1] {
            var lie = entry
            lie.compressedByteCount = UInt32(Int(lie.compressedByteCount) + change)
            lies.append((lie, .seekTable))
            lie = entry
            lie.rawByteCount = UInt32(Int(lie.rawByteCount) + change)
            lies.append((lie, .frame))
        }
        var lie = entry
        lie.checksum ^= 1
        lies.append((lie, .frame))
        lie = entry
        lie.rawByteCount = .max
        lies.append((lie, .seekTable))
        for (lie, code) in lies {
            let bytes = try archive([lie])
            let error = #expect(throws: ArchiveError.self, "\(lie)") { try readWhole(bytes, bench) }
            #expect(error?.code == code, "\(lie)")
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a sink that fails ends the writer with its error, at every block, and nobody hangs`() throws {
        struct Full: Error {}
        final class FailingSink: ArchiveSink {
            let limit: Int
            let taken = MemoryArchive()
            init(limit: Int) { self.limit = limit }
            func append(_ bytes: UnsafeRawBufferPointer) throws {
                guard taken.byteCount < UInt64(limit) else { throw Full() }
                taken.append(bytes)
            }
        }
        let pool = WorkerPool()
        defer { pool.close() }
        let random = SeededRandom(6)
        let noise = (0..<Self.frame).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        for limit in stride(from: 0, through: 6 << 20, by: 1 << 20) {
            let writer = try ArchiveWriter(
                settings: ArchiveSettings(frameByteCount: Self.frame), recipients: [AgeIdentity.generate().recipient],
                sink: FailingSink(limit: limit), pool: pool, buffers: BufferPool(capacityByteCount: 2 << 20))
            let error = #expect(throws: ArchiveError.self) {
                for _ in 0..<200 {
                    let buffer = try writer.takeFrameBuffer()
                    buffer.bytes.copyBytes(from: noise)
                    try writer.submit(buffer, count: noise.count)
                }
                _ = try writer.finish()
            }
            #expect(error?.code == .sink)
            #expect(error?.cause is Full)
            writer.cancel()
        }
    }
}
