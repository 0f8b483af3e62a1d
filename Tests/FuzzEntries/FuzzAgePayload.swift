import AgeFormat
import Archive
import SeekableZstd

/// The payload of an archive, and what is behind its cipher. The first byte chooses what the rest is:
///
/// 0: a whole age file, as it comes. 1: what is done to an age file of ours. 2: the zstd stream of an archive, which is encrypted here.
/// 3: its data frames, for which the seek table is made here too.
package func fuzzAgePayload(_ bytes: UnsafeRawBufferPointer) {
    var input = FuzzInput(bytes)
    switch input.byte() & 3 {
    case 0: readFile(Array(input.rest))
    case 1: readDamaged(&input)
    case 2: readArchive(FuzzKeys.sealed(input.rest))
    default: readFrames(&input)
    }
}

// MARK: age files

/// Both readers take the same files, and find the same in them.
private func readFile(_ file: [UInt8]) {
    let streamed = decrypt(file, pieceByteCount: file.count)
    let pieces = decrypt(file, pieceByteCount: 1000)
    demand(pieces.plaintext == streamed.plaintext, "the pieces of a file do not matter to its plaintext")
    demand(pieces.error == streamed.error, "the pieces of a file do not matter to its error")
    demand(streamed.plaintext.count <= file.count, "there is no more plaintext than ciphertext")
    if let offset = streamed.error?.archiveOffset { demand(offset <= file.count, "the error's place is inside") }
    let random = readAtRandom(file)
    demand((random == nil) == (streamed.error != nil), "both readers take the same files")
    if let random { demand(random == streamed.plaintext, "both readers find the same") }
    readArchive(file)
}

/// What comes out before the error, and the error.
private func decrypt(_ file: [UInt8], pieceByteCount: Int) -> (plaintext: [UInt8], error: AgeError?) {
    var decryptor = AgeDecryptor(identities: [FuzzKeys.identity])
    var plaintext: [UInt8] = []
    do {
        try file.withUnsafeBytes { bytes in
            for start in stride(from: 0, to: bytes.count, by: max(1, pieceByteCount)) {
                let piece = bytes[start..<min(bytes.count, start + pieceByteCount)]
                try decryptor.update(UnsafeRawBufferPointer(rebasing: piece)) { plaintext += $0 }
            }
        }
        try decryptor.finish { plaintext += $0 }
    } catch let error as AgeError {
        return (plaintext, error)
    } catch {
        fatalError("broken promise: a decryptor throws errors of age only: \(error)")
    }
    return (plaintext, nil)
}

/// nil where the reader does not open, or not all of it can be read.
private func readAtRandom(_ file: [UInt8]) -> [UInt8]? {
    do {
        let reader = try AgeRandomAccessReader(
            archiveByteCount: UInt64(file.count), identities: [FuzzKeys.identity]
        ) { offset, buffer in
            demand(offset <= file.count && buffer.count <= file.count - Int(offset), "a read is inside the file")
            buffer.copyBytes(from: file[Int(offset)..<Int(offset) + buffer.count])
        }
        var plaintext = [UInt8](repeating: 0, count: Int(reader.plaintextByteCount))
        try plaintext.withUnsafeMutableBytes { try reader.read(at: 0, into: $0) }
        return plaintext
    } catch {
        demand(error is AgeError, "a reader throws errors of age only")
        return nil
    }
}

/// Some edits of a file of up to four chunks: no byte of its plaintext comes out changed, and only the whole file ends well.
private func readDamaged(_ input: inout FuzzInput) {
    let count = Int(input.number(ofBytes: 3)) % (3 * PayloadLayout.chunkByteCount + 2)
    let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 251) }
    let original = plaintext.withUnsafeBytes { FuzzKeys.sealed($0) }
    var file = original
    while !input.rest.isEmpty, !file.isEmpty {
        let kind = input.byte() % 5
        let place = Int(input.number(ofBytes: 3)) % file.count
        switch kind {
        case 0: file[place] ^= max(1, input.byte())
        case 1: file.removeSubrange(place...)
        case 2: file += input.take(Int(input.byte()))
        case 3: file.removeSubrange(place..<min(file.count, place + PayloadLayout.sealedChunkByteCount))
        default:
            guard file.count <= original.count else { continue }
            file.insert(contentsOf: file[place...].prefix(PayloadLayout.sealedChunkByteCount), at: place)
        }
    }
    let streamed = decrypt(file, pieceByteCount: 50_000)
    demand(plaintext.starts(with: streamed.plaintext), "what comes out is the plaintext's beginning")
    demand((streamed.error == nil) == (file == original), "only the whole file ends well")
    let random = readAtRandom(file)
    demand((random == nil) == (file != original), "only the whole file is read at random")
    if let random { demand(random == plaintext, "what is read at random is the plaintext") }
}

// MARK: Archives

private struct MemoryArchive: ArchiveSource {
    let bytes: [UInt8]

    var byteCount: UInt64 { UInt64(bytes.count) }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
        demand(offset <= bytes.count && buffer.count <= bytes.count - Int(offset), "a read is inside the archive")
        buffer.copyBytes(from: bytes[Int(offset)..<Int(offset) + buffer.count])
    }
}

/// Raw bytes that are decoded for one input; what is beyond is opened only. The checks compress them again.
private let decodedLimit = 1 << 20

private func readArchive(_ file: [UInt8]) {
    do throws(ArchiveError) {
        let reader = try ArchiveReader.open(source: MemoryArchive(bytes: file), identities: [FuzzKeys.identity])
        demand(reader.seekTable.streamByteCount <= file.count, "the stream is inside the archive")
        let decoder = FrameDecoder()
        var decodedByteCount = 0
        for index in 0..<reader.seekTable.frameCount {
            if reader.seekTable.isZeroFrame(index) {
                try checkZeros(index, reader, decoder)
                continue
            }
            decodedByteCount += Int(reader.seekTable[index].rawByteCount)
            guard decodedByteCount <= decodedLimit else { return }
            try readFrame(index, reader, decoder)
        }
    } catch {
        demand(error.code != .sink && error.code != .cancelled, "an error is about the archive")
        if let offset = error.archiveOffset { demand(offset <= file.count, "the error's place is inside") }
    }
}

private func readFrame(_ index: Int, _ reader: ArchiveReader, _ decoder: FrameDecoder) throws(ArchiveError) {
    let entry = reader.seekTable[index]
    let run = reader.layout.run(ofFrames: index..<index + 1)
    let ciphertext = UnsafeMutableRawBufferPointer.allocate(byteCount: run.ciphertextByteCount, alignment: 16)
    let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(entry.rawByteCount), alignment: 16)
    defer {
        ciphertext.deallocate()
        raw.deallocate()
    }
    do throws(ArchiveError) {
        try reader.read(frame: index, with: decoder, ciphertext: ciphertext, into: raw)
    } catch {
        demand(error.code == .frame || error.code == .payload, "what is wrong with a frame is named so")
        throw error
    }
    demand(checksum(of: raw) == entry.checksum, "what is decoded has the checksum that the seek table names")
}

private func checkZeros(_ index: Int, _ reader: ArchiveReader, _ decoder: FrameDecoder) throws(ArchiveError) {
    let run = reader.layout.run(ofFrames: index..<index + 1)
    let ciphertext = UnsafeMutableRawBufferPointer.allocate(byteCount: run.ciphertextByteCount, alignment: 16)
    defer { ciphertext.deallocate() }
    try reader.fetch(run, into: ciphertext)
    let stream = try reader.decrypt(run, UnsafeRawBufferPointer(ciphertext), with: decoder)
    try reader.checkZeroFrame(index, of: run, stream: stream)
}

/// By libzstd's other half: the checksum that a compressor writes behind these bytes.
private func checksum(of raw: UnsafeMutableRawBufferPointer) -> UInt32 {
    var compressor = FrameCompressor(level: 1, maximumRawByteCount: max(1, raw.count))
    let count = FrameCompressor.destinationByteCount(forRawByteCount: raw.count)
    let frame = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    defer { frame.deallocate() }
    do throws(SeekableZstdError) {
        return try compressor.compress(UnsafeRawBufferPointer(raw), into: frame).checksum
    } catch {
        preconditionFailure("internal error: bytes cannot be compressed: \(error)")
    }
}

/// Each frame: its length in two bytes, its raw size in three, then itself. Its checksum is what it ends with.
private func readFrames(_ input: inout FuzzInput) {
    var stream: [UInt8] = []
    var table = SeekTable()
    while !input.rest.isEmpty {
        let byteCount = Int(input.number(ofBytes: 2))
        let rawByteCount = UInt32(input.number(ofBytes: 3))
        let frame = input.take(byteCount)
        guard frame.count >= 4 else { break }
        let checksum = frame.loadUnaligned(fromByteOffset: frame.count - 4, as: UInt32.self)
        table.append(
            SeekTable.Entry(
                compressedByteCount: UInt32(frame.count), rawByteCount: rawByteCount,
                checksum: UInt32(littleEndian: checksum)))
        stream += frame
    }
    stream += table.serialized()
    readArchive(stream.withUnsafeBytes { FuzzKeys.sealed($0) })
}
