internal import AgeFormat
internal import Archive
internal import CryptoPrimitives
internal import Storage

/// An archive exactly as it was written, from whatever copies of it there are: each chunk is authenticated, and taken from the next
/// copy where it is not. Header and nonce are the catalog's.
struct AuthenticatedSource: ArchiveSource {
    private let source: any ArchiveSource
    private let header: [UInt8]
    private let layout: PayloadLayout
    private let key: PayloadKey

    /// - Parameters:
    ///   - source: tries other copies by its attempts.
    ///   - header: with the nonce; one of the identities unwraps it.
    init(_ source: any ArchiveSource, header: [UInt8], identities: [AgeIdentity]) throws {
        guard let parsed = try AgeHeader.parse(header) else {
            throw EngineError(.catalog, "the catalog's header is cut")
        }
        let fileKey = try parsed.fileKey(identities: identities)
        self.source = source
        self.header = header
        layout = try PayloadLayout(headerByteCount: parsed.byteCount, archiveByteCount: source.byteCount)
        key = header[parsed.byteCount...].withUnsafeBytes { PayloadKey(fileKey: fileKey, nonce: $0) }
    }

    var byteCount: UInt64 { source.byteCount }

    /// Throws `.damaged` where no copy has the bytes; where a copy might and is away, that.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        var offset = archiveOffset
        var rest = Slice(base: buffer, bounds: 0..<buffer.count)
        if offset < UInt64(header.count) {
            let part = header[Int(offset)...].prefix(rest.count)
            UnsafeMutableRawBufferPointer(rebasing: rest).copyBytes(from: part)
            rest = rest.dropFirst(part.count)
            offset += UInt64(part.count)
        }
        guard !rest.isEmpty else { return }
        let sealed = UInt64(PayloadLayout.sealedChunkByteCount)
        let first = (offset - layout.payloadOffset) / sealed
        let last = (offset + UInt64(rest.count) - 1 - layout.payloadOffset) / sealed
        let start = layout.archiveRange(ofChunk: first).lowerBound
        let chunks = try chunks(first...last)
        let skipped = Int(offset - start)
        UnsafeMutableRawBufferPointer(rebasing: rest).copyBytes(from: chunks[skipped..<skipped + rest.count])
    }

    /// The ciphertext of neighbouring chunks.
    private func chunks(_ indices: ClosedRange<UInt64>) throws -> [UInt8] {
        let start = layout.archiveRange(ofChunk: indices.lowerBound).lowerBound
        let end = layout.archiveRange(ofChunk: indices.upperBound).upperBound
        var bytes = [UInt8](repeating: 0, count: Int(end - start))
        var scratch = [UInt8](repeating: 0, count: PayloadLayout.chunkByteCount)
        defer { scratch.withUnsafeMutableBytes { SecretBytes.wipe($0) } }
        var outage: StorageError?
        func isRead(_ body: () throws -> Void) -> Bool {
            do {
                try body()
                return true
            } catch {
                if let error = error as? StorageError, error.code.mayPassByItself { outage = error }
                return false
            }
        }
        // One that cannot be had whole is asked for piece by piece.
        let isThere = isRead { try bytes.withUnsafeMutableBytes { try source.read(at: start, into: $0) } }
        var cipher = PayloadCipher(key: key)
        for index in indices {
            let range = layout.archiveRange(ofChunk: index)
            let place = Int(range.lowerBound - start)..<Int(range.upperBound - start)
            var isGood = isThere && isAuthentic(bytes[place], index, &cipher, &scratch)
            var attempt = isThere ? source.discard(range, attempt: 0) : 0
            while !isGood, let next = attempt {
                isGood =
                    isRead {
                        try bytes[place].withUnsafeMutableBytes {
                            try source.read(at: range.lowerBound, into: $0, attempt: next)
                        }
                    } && isAuthentic(bytes[place], index, &cipher, &scratch)
                attempt = source.discard(range, attempt: next)
            }
            guard isGood else {
                if let outage { throw outage }
                throw EngineError(
                    .damaged,
                    "no copy has the archive's bytes \(range.lowerBound)-\(range.upperBound) as they were written",
                    hint: "`holdfast restore --salvage` saves what there is")
            }
        }
        return bytes
    }

    private func isAuthentic(
        _ ciphertext: ArraySlice<UInt8>, _ index: UInt64, _ cipher: inout PayloadCipher, _ scratch: inout [UInt8]
    ) -> Bool {
        let count = ciphertext.count - PayloadLayout.tagByteCount
        return ciphertext.withUnsafeBytes { ciphertext in
            scratch.withUnsafeMutableBytes { scratch in
                do throws(AgeError) {
                    try cipher.open(
                        chunk: index, layout.position(ofChunk: index), ciphertext: ciphertext,
                        into: UnsafeMutableRawBufferPointer(rebasing: scratch[..<count]))
                    return true
                } catch {
                    return false
                }
            }
        }
    }
}
