package import AgeFormat
package import CryptoPrimitives
package import SeekableZstd

/// What opens a known archive without a single request: kept in the catalog.
package struct ArchiveAccess: Sendable {
    /// The age header and the 16-byte payload nonce, as they stand at the start of the archive.
    package let header: [UInt8]
    package let seekTable: SeekTable
    package let archiveByteCount: UInt64

    package init(header: [UInt8], seekTable: SeekTable, archiveByteCount: UInt64) {
        self.header = header
        self.seekTable = seekTable
        self.archiveByteCount = archiveByteCount
    }

    /// The fingerprint that a manifest pins.
    package var headerSHA256: SHA256Digest { SHA256Hasher.digest(of: header) }
}

/// Reads an archive at random: fetch ciphertext, decrypt whole chunks, decompress frames. Nothing unauthenticated leaves.
///
/// Stateless after opening, so any thread may use it; the memory to decode with is the caller's.
package final class ArchiveReader: Sendable {
    package let layout: ArchiveLayout
    package let access: ArchiveAccess
    private let source: any ArchiveSource
    private let key: PayloadKey

    package var seekTable: SeekTable { layout.seekTable }
    package var rawByteCount: UInt64 { layout.seekTable.rawByteCount }

    /// A frame larger than this is refused before memory is taken: four times the largest `frame_size` of ours.
    package static let maximumDataFrameByteCount = 64 << 20

    /// Opens a known archive: no request.
    package init(
        source: any ArchiveSource, access: ArchiveAccess, identities: [AgeIdentity]
    ) throws(ArchiveError) {
        let opened = try Self.openHeader(access.header, archiveByteCount: access.archiveByteCount, identities)
        self.source = source
        self.access = access
        key = opened.key
        layout = try ArchiveLayout(payload: opened.payload, seekTable: access.seekTable)
    }

    /// Opens an archive whose file key is in hand: by the one who has just written it.
    package init(
        source: any ArchiveSource, access: ArchiveAccess, fileKey: SecretBytes
    ) throws(ArchiveError) {
        let nonceOffset = access.header.count - PayloadLayout.nonceByteCount
        guard nonceOffset > 0 else { throw ArchiveError(.header, "the header is cut short") }
        let payload = try Self.payloadLayout(header: access.header, archiveByteCount: access.archiveByteCount)
        layout = try ArchiveLayout(payload: payload, seekTable: access.seekTable)
        self.source = source
        self.access = access
        key = access.header.withUnsafeBytes {
            PayloadKey(fileKey: fileKey, nonce: UnsafeRawBufferPointer(rebasing: $0[nonceOffset...]))
        }
    }

    /// Where the chunks lie behind a header and nonce.
    package static func payloadLayout(
        header: [UInt8], archiveByteCount: UInt64
    ) throws(ArchiveError) -> PayloadLayout {
        do throws(AgeError) {
            return try PayloadLayout(
                headerByteCount: max(0, header.count - PayloadLayout.nonceByteCount), archiveByteCount: archiveByteCount
            )
        } catch {
            throw ArchiveError(error)
        }
    }

    /// Opens an archive of which nothing is known: one request for the header, one for the tail (a second one for the seek
    /// table of more than some 80,000 frames). The last chunk is authenticated, and with it the length. A header that was read
    /// before is not read again.
    package static func open(
        source: any ArchiveSource, identities: [AgeIdentity], header: [UInt8]? = nil
    ) throws(ArchiveError) -> ArchiveReader {
        let header = if let header { header } else { try readHeader(of: source) }
        let opened = try openHeader(header, archiveByteCount: source.byteCount, identities)
        let table = try readSeekTable(of: source, payload: opened.payload, key: opened.key)
        let access = ArchiveAccess(header: header, seekTable: table, archiveByteCount: source.byteCount)
        return try ArchiveReader(source: source, access: access, identities: identities)
    }

    // MARK: Runs

    /// Fetches the ciphertext of a run: one read of the source. Blocks.
    package func fetch(_ run: FrameRun, into buffer: UnsafeMutableRawBufferPointer) throws(ArchiveError) {
        try fetch(run.archiveRange, into: buffer)
    }

    /// The same for a range of the archive, that of a run; `attempt` as the source told.
    package func fetch(
        _ archiveRange: Range<UInt64>, into buffer: UnsafeMutableRawBufferPointer, attempt: Int = 0
    ) throws(ArchiveError) {
        precondition(buffer.count == archiveRange.count, "internal error: a buffer that does not fit its range")
        try Self.read(source, at: archiveRange.lowerBound, into: buffer, attempt: attempt)
    }

    /// Tells the source that what it gave for a run was not authentic: the attempt to fetch with next, nil where there is none.
    package func discard(_ run: FrameRun, attempt: Int) -> Int? { source.discard(run.archiveRange, attempt: attempt) }

    /// Decrypts a fetched run; the result is the run's part of the zstd stream, valid until the decoder is used again.
    package func decrypt(
        _ run: FrameRun, _ ciphertext: UnsafeRawBufferPointer, with decoder: FrameDecoder
    ) throws(ArchiveError) -> UnsafeRawBufferPointer {
        let plaintext = try Self.decrypt(run.chunks, ciphertext, key, layout.payload, decoder)
        let start = Int(
            run.streamRange.lowerBound - layout.payload.plaintextRange(ofChunk: run.chunks.lowerBound).lowerBound)
        return UnsafeRawBufferPointer(rebasing: plaintext[start..<start + run.streamRange.count])
    }

    /// Decompresses one frame of a decrypted run into exactly its raw size.
    package func decompress(
        frame index: Int, of run: FrameRun, stream: UnsafeRawBufferPointer, with decoder: FrameDecoder,
        into raw: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError) {
        let bytes = Self.slice(of: stream, frame: index, run, seekTable)
        do throws(SeekableZstdError) {
            try decoder.decompressor.decompress(bytes, as: seekTable[index], into: raw)
        } catch {
            throw ArchiveError(
                .frame, "frame \(index): \(error.detail)", archiveOffset: archiveOffset(ofFrame: index), cause: error)
        }
    }

    /// Checks that a zero frame holds the canonical bytes, so that stock `zstd` decodes it to the zeros we say it is.
    package func checkZeroFrame(
        _ index: Int, of run: FrameRun, stream: UnsafeRawBufferPointer
    ) throws(ArchiveError) {
        let bytes = Self.slice(of: stream, frame: index, run, seekTable)
        let canonical = ZeroFrame.bytes(rawByteCount: Int(seekTable[index].rawByteCount))
        guard bytes.elementsEqual(canonical) else {
            throw ArchiveError(
                .frame, "frame \(index) is listed as zeros and holds something else",
                archiveOffset: archiveOffset(ofFrame: index))
        }
    }

    /// Reads one data frame: fetch, decrypt, decompress. Blocks.
    package func read(
        frame index: Int, with decoder: FrameDecoder, ciphertext: UnsafeMutableRawBufferPointer,
        into raw: UnsafeMutableRawBufferPointer
    ) throws(ArchiveError) {
        let run = layout.run(ofFrames: index..<index + 1)
        let part = UnsafeMutableRawBufferPointer(rebasing: ciphertext[0..<run.ciphertextByteCount])
        try fetch(run, into: part)
        let stream = try decrypt(run, UnsafeRawBufferPointer(part), with: decoder)
        try decompress(frame: index, of: run, stream: stream, with: decoder, into: raw)
    }

    /// The archive offset of the chunk in which a frame starts: what an error names.
    package func archiveOffset(ofFrame index: Int) -> UInt64 {
        layout.run(ofFrames: index..<index + 1).archiveRange.lowerBound
    }

    private static func slice(
        of stream: UnsafeRawBufferPointer, frame index: Int, _ run: FrameRun, _ table: SeekTable
    ) -> UnsafeRawBufferPointer {
        let range = table.streamRange(ofFrame: index)
        let start = Int(range.lowerBound - run.streamRange.lowerBound)
        return UnsafeRawBufferPointer(rebasing: stream[start..<start + range.count])
    }
}

// MARK: Opening

extension ArchiveReader {
    struct Opened {
        let payload: PayloadLayout
        let key: PayloadKey
    }

    /// Parses a header with its nonce and unwraps the file key.
    static func openHeader(
        _ bytes: [UInt8], archiveByteCount: UInt64, _ identities: [AgeIdentity]
    ) throws(ArchiveError) -> Opened {
        do throws(AgeError) {
            guard let header = try AgeHeader.parse(bytes),
                bytes.count == header.byteCount + PayloadLayout.nonceByteCount
            else { throw AgeError(.header, "the header is cut short") }
            let fileKey = try header.fileKey(identities: identities)
            let payload = try PayloadLayout(headerByteCount: header.byteCount, archiveByteCount: archiveByteCount)
            let key = bytes.withUnsafeBytes {
                PayloadKey(fileKey: fileKey, nonce: UnsafeRawBufferPointer(rebasing: $0[header.byteCount...]))
            }
            return Opened(payload: payload, key: key)
        } catch {
            throw ArchiveError(error)
        }
    }

    /// The header and nonce at the start of an archive. The first read takes what a header of some twenty recipients needs.
    package static func readHeader(of source: any ArchiveSource) throws(ArchiveError) -> [UInt8] {
        var limit = 4096
        while true {
            let count = Int(min(source.byteCount, UInt64(limit)))
            let bytes = try readBytes(source, at: 0, count: count)
            do throws(AgeError) {
                let header = try AgeHeader.parse(bytes)
                if let header {
                    let end = header.byteCount + PayloadLayout.nonceByteCount
                    if end <= bytes.count { return Array(bytes[0..<end]) }
                }
            } catch {
                throw ArchiveError(error)
            }
            guard UInt64(count) < source.byteCount, limit < AgeHeader.maximumByteCount + PayloadLayout.nonceByteCount
            else { throw ArchiveError(.header, "the file ends inside the header", archiveOffset: UInt64(count)) }
            limit = AgeHeader.maximumByteCount + PayloadLayout.nonceByteCount
        }
    }

    /// Reads and checks the seek table at the end of the payload.
    private static func readSeekTable(
        of source: any ArchiveSource, payload: PayloadLayout, key: PayloadKey
    ) throws(ArchiveError) -> SeekTable {
        let decoder = FrameDecoder()
        let streamEnd = payload.plaintextByteCount
        // 16 chunks: the table of 87,000 frames comes with the first read.
        var stream = try readStreamTail(
            of: source, payload, key, decoder, byteCount: min(streamEnd, 16 * UInt64(PayloadLayout.chunkByteCount)))
        guard stream.count >= SeekTable.footerByteCount else {
            throw ArchiveError(.seekTable, "the stream is shorter than the footer of a seek table")
        }
        let footer = UnsafeRawBufferPointer(rebasing: stream.suffix(SeekTable.footerByteCount))
        let tableByteCount = try seekTableResult { () throws(SeekableZstdError) in
            try SeekTable.byteCount(parsingFooter: footer, streamByteCount: streamEnd)
        }
        if tableByteCount > stream.count {
            stream = try readStreamTail(of: source, payload, key, decoder, byteCount: UInt64(tableByteCount))
        }
        let table = UnsafeRawBufferPointer(rebasing: stream.suffix(tableByteCount))
        return try seekTableResult { () throws(SeekableZstdError) in
            try SeekTable(
                parsing: table, streamByteCount: streamEnd, maximumDataFrameRawByteCount: maximumDataFrameByteCount)
        }
    }

    private static func seekTableResult<Value>(
        _ body: () throws(SeekableZstdError) -> Value
    ) throws(ArchiveError) -> Value {
        do throws(SeekableZstdError) {
            return try body()
        } catch {
            throw ArchiveError(error)
        }
    }

    /// The last `byteCount` bytes of the stream, authenticated.
    private static func readStreamTail(
        of source: any ArchiveSource, _ payload: PayloadLayout, _ key: PayloadKey, _ decoder: FrameDecoder,
        byteCount: UInt64
    ) throws(ArchiveError) -> UnsafeRawBufferPointer {
        let end = payload.plaintextByteCount
        let chunks =
            end == 0 ? 0..<payload.chunkCount : payload.chunks(covering: end - byteCount..<end)
        let start = payload.archiveRange(ofChunk: chunks.lowerBound).lowerBound
        let ciphertext = try readBytes(source, at: start, count: Int(source.byteCount - start))
        do {
            let plaintext = try ciphertext.withUnsafeBytes { try decrypt(chunks, $0, key, payload, decoder) }
            return UnsafeRawBufferPointer(rebasing: plaintext.suffix(Int(byteCount)))
        } catch let error as ArchiveError {
            throw error
        } catch {
            preconditionFailure("internal error: decrypt throws only ArchiveError")
        }
    }

    private static func decrypt(
        _ chunks: Range<UInt64>, _ ciphertext: UnsafeRawBufferPointer, _ key: PayloadKey, _ payload: PayloadLayout,
        _ decoder: FrameDecoder
    ) throws(ArchiveError) -> UnsafeRawBufferPointer {
        let start = payload.archiveRange(ofChunk: chunks.lowerBound).lowerBound
        let plaintextStart = payload.plaintextRange(ofChunk: chunks.lowerBound).lowerBound
        let plaintextEnd = payload.plaintextRange(ofChunk: chunks.upperBound - 1).upperBound
        let plaintext = decoder.scratch(byteCount: Int(plaintextEnd - plaintextStart))
        var cipher = PayloadCipher(key: key)
        for chunk in chunks {
            let sealed = payload.archiveRange(ofChunk: chunk)
            let open = payload.plaintextRange(ofChunk: chunk)
            let from = Int(sealed.lowerBound - start)
            let to = Int(open.lowerBound - plaintextStart)
            do throws(AgeError) {
                try cipher.open(
                    chunk: chunk, payload.position(ofChunk: chunk),
                    ciphertext: UnsafeRawBufferPointer(rebasing: ciphertext[from..<from + sealed.count]),
                    into: UnsafeMutableRawBufferPointer(rebasing: plaintext[to..<to + open.count]))
            } catch {
                throw ArchiveError(error, archiveOffset: sealed.lowerBound)
            }
        }
        return UnsafeRawBufferPointer(plaintext)
    }

    private static func readBytes(
        _ source: any ArchiveSource, at offset: UInt64, count: Int
    ) throws(ArchiveError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        do {
            try bytes.withUnsafeMutableBytes { try read(source, at: offset, into: $0) }
        } catch let error as ArchiveError {
            throw error
        } catch {
            preconditionFailure("internal error: read throws only ArchiveError")
        }
        return bytes
    }

    private static func read(
        _ source: any ArchiveSource, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int = 0
    ) throws(ArchiveError) {
        do {
            if attempt == 0 {
                try source.read(at: offset, into: buffer)
            } else {
                try source.read(at: offset, into: buffer, attempt: attempt)
            }
        } catch let error as ArchiveError {
            throw error
        } catch {
            throw ArchiveError(.source, "the archive cannot be read", archiveOffset: offset, cause: error)
        }
    }
}
